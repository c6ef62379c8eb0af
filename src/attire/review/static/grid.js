// The grid: one key of many products; actions apply to the selected products.
import { batch, describe, lease, listen, pick, save, say, setLeft, valueText, vocabulary, warn } from "./common.js";

const grid = document.getElementById("cells");
const cells = grid ? [...grid.children] : [];
const key = grid?.dataset.key, filters = grid ? JSON.parse(grid.dataset.filters) : {};
const box = cell => cell.querySelector("input");
const proposal = cell => JSON.parse(cell.dataset.proposal);
// Cells that may be selected together; fields of the random sample must be judged one by one.
const selectable = () => cells.filter(cell => !cell.dataset.decided && !cell.dataset.sampled);
// The appearance of each cell before a decision, to restore it after an undo.
const appearance = cell => [cell.className, ...[".value", ".badge"].map(name => cell.querySelector(name).textContent)];
const undecided = new Map(cells.map(cell => [cell, appearance(cell)]));
let at = 0, anchor = 0;

function focus(i) {
  at = Math.max(0, Math.min(cells.length - 1, i));
  cells.forEach((cell, n) => { cell.tabIndex = n === at ? 0 : -1; });
  cells[at]?.focus({ preventScroll: true });
  cells[at]?.scrollIntoView({ block: "nearest" });
}

function vertical(by) {
  const top = cells[at].offsetTop, left = cells[at].offsetLeft;
  const rows = [...new Set(cells.map(cell => cell.offsetTop))], row = rows[rows.indexOf(top) + by];
  if (row === undefined) return;
  const near = cells.map((cell, i) => [Math.abs(cell.offsetLeft - left), i]).filter(([, i]) => cells[i].offsetTop === row);
  focus(near.sort((a, b) => a[0] - b[0])[0][1]);
}

function count() {
  const n = cells.filter(cell => box(cell).checked).length;
  for (const cell of cells) cell.classList.toggle("selected", box(cell).checked);
  for (const chip of document.querySelectorAll("[data-select]")) {
    const group = selectable().filter(cell => cell.dataset.proposal === chip.dataset.select);
    chip.hidden = !group.length;
    chip.querySelector("span").textContent = group.length;
    chip.setAttribute("aria-pressed", group.length > 0 && group.every(cell => box(cell).checked));
  }
  document.getElementById("selected").textContent = n ? `${n} selected` : "none selected";
}

function toggle(i, on = !box(cells[i]).checked) {
  box(cells[i]).checked = on;
  anchor = i;
  count();
}

function range(i) {
  for (let n = Math.min(anchor, i); n <= Math.max(anchor, i); n += 1) box(cells[n]).checked = true;
  count();
}

// The selected cells, or the focused one if none is selected.
function targetCells() {
  const selected = cells.filter(cell => box(cell).checked);
  return selected.length ? selected : cells[at] ? [cells[at]] : [];
}

function decide(action, values) {
  const withoutValues = ["clear", "not applicable"].includes(action);
  const targets = targetCells().filter(cell => withoutValues || values(cell).length);
  if (!targets.length) { say("There is no proposed value to accept. Set a value instead."); return; }
  const name = batch();
  for (const cell of targets) { cell.classList.add("saving"); box(cell).checked = false; }
  count();
  const body = () => ({ batch: name, filters, verdicts: targets.map(cell => ({
    product: cell.dataset.product, key, action, values: values(cell), version: Number(cell.dataset.version) })) });
  save("/api/decide", body, answer => {
    setLeft(answer.left);
    draw(answer.saved, "decided", decision => decision.reviewer);
    draw(answer.conflicts, "decided conflicted", describe);
    if (answer.conflicts.length) warn(`${answer.conflicts.length} of ${targets.length} were decided by others in the meantime. Their decisions were kept and are marked.`);
    else say(`${answer.saved.length} saved.`);
  }, () => { for (const cell of targets) cell.classList.remove("saving"); });
  const nextOpen = cells.findIndex((cell, i) => i > at && !cell.dataset.decided && !cell.classList.contains("saving"));
  if (targets.length === 1 && nextOpen > 0) focus(nextOpen);
}

function draw(decisions, state, note) {
  for (const decision of decisions) {
    const cell = cells.find(other => other.dataset.product === decision.product);
    if (!cell || decision.key !== key) continue;
    const open = decision.state === "open";
    const [className, value, badge] = open ? undecided.get(cell) : [`cell ${state}`, valueText(decision), `✓ ${note(decision)}`];
    cell.dataset.version = decision.version;
    cell.dataset.decided = open ? "" : "yes";
    cell.className = className;
    cell.querySelector(".value").textContent = value;
    cell.querySelector(".badge").textContent = badge;
  }
  count();
}

const act = {
  accept: () => decide("accept", proposal),
  notApplicable: () => { if (document.querySelector("[data-do=notApplicable]")) decide("not applicable", () => []); },
  clear: () => decide("clear", () => []),
  async set() {
    const targets = targetCells();
    if (!targets.length) return;
    const value = await pick(key, `Choose a value for ${grid.dataset.title} of ${targets.length === 1 ? "one product" : `${targets.length} products`}`);
    focus(at);
    if (value !== null) decide("set", () => [value]);
  },
  selectAll() {
    const group = selectable(), all = group.every(cell => box(cell).checked);
    for (const cell of group) box(cell).checked = !all;
    count();
    say(document.getElementById("selected").textContent);
  },
  undo() {
    const name = batch();
    save("/api/undo", () => ({ batch: name, filters }), answer => {
      setLeft(answer.left);
      draw(answer.saved, "decided", decision => decision.reviewer);
      say(answer.saved.length ? `${answer.saved.length} undone.` : "Nothing to undo.");
    });
  },
  next() {
    const query = new URLSearchParams(location.search);
    if (grid) { query.set("key", key); query.set("last", grid.dataset.last); } else query.delete("last");
    location.search = query;
  },
  open() { if (cells[at]) location.href = `/review?${new URLSearchParams({ queue: filters.queue, key })}#${new URLSearchParams({ p: cells[at].dataset.product })}`; },
  product() { location.href = `/review${location.search}`; },
};

listen({
  ArrowRight: () => focus(at + 1), ArrowLeft: () => focus(at - 1), ArrowDown: () => vertical(1), ArrowUp: () => vertical(-1),
  " ": () => { if (cells[at]) toggle(at); }, "Shift+ ": () => range(at), a: act.selectAll, Enter: act.accept, "/": act.set,
  x: act.notApplicable, c: act.clear, u: act.undo, j: act.next, o: act.open, g: act.product,
});

document.addEventListener("click", event => {
  const button = event.target.closest("button"), cell = event.target.closest(".cell");
  if (button?.dataset.do) act[button.dataset.do]();
  else if (button?.dataset.select) {
    const group = selectable().filter(other => other.dataset.proposal === button.dataset.select), all = group.every(other => box(other).checked);
    for (const other of group) box(other).checked = !all;
    count();
    focus(cells.indexOf(group[0]));
  } else if (cell && event.target.matches("input")) {
    const i = cells.indexOf(cell);
    if (event.shiftKey) range(i); else toggle(i, box(cell).checked);
    focus(i);
  }
});
if (cells.length) { vocabulary(); focus(0); count(); lease(() => cells.map(cell => cell.dataset.product)); }
