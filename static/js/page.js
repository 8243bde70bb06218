// What HTML alone cannot do: copy buttons, menus that close, and live parts that never disturb a reader.

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (button) {
    const source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
    await navigator.clipboard.writeText(source ? source.textContent : button.dataset.copy);
    const label = button.querySelector(".copy-label");
    const before = label.textContent;
    if (button.classList.contains("done")) return;
    label.textContent = button.dataset.done;
    button.classList.add("done");
    setTimeout(() => { label.textContent = before; button.classList.remove("done"); }, 1500);
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

const isLive = (element) => element.hasAttribute("data-live");

const selects = (element) => {
  const selection = getSelection();
  return !selection.isCollapsed && element.contains(selection.anchorNode);
};

// Nobody looks, or somebody marks text to copy it: this round is left out.
document.addEventListener("htmx:beforeRequest", (event) => {
  const element = event.detail.elt;
  if (isLive(element) && (document.hidden || selects(element))) event.preventDefault();
});

// New rows push the old ones down; whoever has scrolled keeps the row they read under their eyes.
let anchor = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  anchor = null;
  if (!isLive(event.detail.target) || scrollY === 0) return;
  const row = [...event.detail.target.querySelectorAll("tr[id]")].find((each) => each.getBoundingClientRect().top >= 0);
  if (row) anchor = { id: row.id, top: row.getBoundingClientRect().top };
});
document.addEventListener("htmx:afterSwap", () => {
  const row = anchor && document.getElementById(anchor.id);
  if (row) scrollBy(0, row.getBoundingClientRect().top - anchor.top);
  anchor = null;
});

// What somebody has opened stays open, and what they have closed stays closed, when a new copy of it is swapped in.
const folded = new Map();
document.addEventListener("htmx:beforeSwap", () => {
  folded.clear();
  for (const each of document.querySelectorAll("details[id]")) folded.set(each.id, each.open);
});
document.addEventListener("htmx:load", (event) => {
  for (const each of event.detail.elt.querySelectorAll("details[id]")) {
    if (folded.has(each.id)) each.open = folded.get(each.id);
  }
});

// A button is disabled while its request is under way and so loses the focus: its new copy gets it back.
let pressed = "";
document.addEventListener("htmx:beforeRequest", (event) => {
  const focused = document.activeElement;
  if (!isLive(event.detail.elt) && event.detail.elt.contains(focused)) pressed = focused.id;
});
document.addEventListener("htmx:afterSettle", () => {
  if (pressed && document.activeElement === document.body) document.getElementById(pressed)?.focus({ preventScroll: true });
  pressed = "";
});
