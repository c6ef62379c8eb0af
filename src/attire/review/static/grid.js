// One key of many products at once: select, then accept or set for the whole selection.
import { batch, lease, listen, pick, save, say, setLeft, told, vocabulary, warn, worded } from "./common.js";

const grid = document.getElementById("cells");
const cells = grid ? [...grid.children] : [];
const key = grid?.dataset.key, filters = grid ? JSON.parse(grid.dataset.filters) : {};
const box = cell => cell.querySelector("input");
const proposal = cell => JSON.parse(cell.dataset.proposal);
// What may be selected at one stroke: fields of the random sample are to be looked at one by one.
const plain = () => cells.filter(cell => !cell.dataset.decided && !cell.dataset.sampled);
// How a cell looks that nothing is decided of.
const look = cell => [cell.className, ...[".value", ".badge"].map(part => cell.querySelector(part).textContent)];
const undecided = new Map(cells.map(cell => [cell, look(cell)]));
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
    const group = plain().filter(cell => cell.dataset.proposal === chip.dataset.select);
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

// The selection, or where nothing is selected the one that has the focus.
function chosen() {
  const selected = cells.filter(cell => box(cell).checked);
  return selected.length ? selected : cells[at] ? [cells[at]] : [];
}

function decide(action, values) {
  const wordless = ["clear", "not applicable"].includes(action);
  const targets = chosen().filter(cell => wordless || values(cell).length);
  if (!targets.length) { say("Nothing to accept here: set a value instead."); return; }
  const name = batch();
  for (const cell of targets) { cell.classList.add("saving"); box(cell).checked = false; }
  count();
  const body = () => ({ batch: name, filters, verdicts: targets.map(cell => ({
    product: cell.dataset.product, key, action, values: values(cell), version: Number(cell.dataset.version) })) });
  save("/api/decide", body, answer => {
    setLeft(answer.left);
    draw(answer.saved, "decided", fate => fate.reviewer);
    draw(answer.conflicts, "decided conflicted", told);
    if (answer.conflicts.length) warn(`${answer.conflicts.length} of ${targets.length} were decided by others meanwhile; theirs hold and are marked.`);
    else say(`${answer.saved.length} saved.`);
  }, () => { for (const cell of targets) cell.classList.remove("saving"); });
  const rest = cells.findIndex((cell, i) => i > at && !cell.dataset.decided && !cell.classList.contains("saving"));
  if (targets.length === 1 && rest > 0) focus(rest);
}

function draw(fates, state, note) {
  for (const fate of fates) {
    const cell = cells.find(one => one.dataset.product === fate.product);
    if (!cell || fate.key !== key) continue;
    const open = fate.state === "open";
    const [kind, value, badge] = open ? undecided.get(cell) : [`cell ${state}`, worded(fate), `✓ ${note(fate)}`];
    cell.dataset.version = fate.version;
    cell.dataset.decided = open ? "" : "yes";
    cell.className = kind;
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
    const targets = chosen();
    if (!targets.length) return;
    const value = await pick(key, `${grid.dataset.title} of ${targets.length === 1 ? "one product" : `${targets.length} products`}: which value?`);
    focus(at);
    if (value !== null) decide("set", () => [value]);
  },
  selectAll() {
    const some = plain(), all = some.every(cell => box(cell).checked);
    for (const cell of some) box(cell).checked = !all;
    count();
    say(document.getElementById("selected").textContent);
  },
  undo() {
    save("/api/undo", () => ({ filters }), answer => {
      setLeft(answer.left);
      draw(answer.saved, "decided", fate => fate.reviewer);
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
    const group = plain().filter(one => one.dataset.proposal === button.dataset.select), all = group.every(one => box(one).checked);
    for (const one of group) box(one).checked = !all;
    count();
    focus(cells.indexOf(group[0]));
  } else if (cell && event.target.matches("input")) {
    const i = cells.indexOf(cell);
    if (event.shiftKey) range(i); else toggle(i, box(cell).checked);
    focus(i);
  }
});
if (cells.length) { vocabulary(); focus(0); count(); lease(() => cells.map(cell => cell.dataset.product)); }
