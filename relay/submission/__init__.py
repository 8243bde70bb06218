"""SMTP in: takes each email from customers' software over authenticated, encrypted SMTP, or refuses it clearly."""
