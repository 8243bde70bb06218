"""The demo: one customer with everything in place, and a few dozen emails really sent to the simulator."""
