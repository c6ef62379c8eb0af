// The product page. The server renders each product as HTML; this script shows it and handles decisions.
import { batch, describe, enqueue, lease, listen, parseHtml, pick, save, say, setLeft, valueText, vocabulary, warn } from "./common.js";
import { Seen } from "./seen.js";
import { Stage } from "./stage.js";
import { Trail } from "./trail.js";

const place = document.getElementById("card");
const filters = JSON.parse(place.dataset.filters);
const stage = new Stage(place, place.dataset.explains);
const trail = new Trail(filters), seen = new Seen();
const versions = new Map(), pending = new Set(); // pending: actions that are not saved yet
let key = null, conflict = null;

const fields = () => [...place.querySelectorAll(".field")];
const field = name => fields().find(element => element.dataset.key === name);
const titleOf = name => field(name)?.dataset.title ?? name;
const current = () => (key === null ? null : field(key));
const open = element => element.dataset.wanted && !element.dataset.decided;
const list = (element, name) => JSON.parse(element.dataset[name]);

// Products.

async function next() {
  let moved = false;
  try {
    moved = await trail.next();
  } catch (error) { warn(error.message); return; }
  if (!moved) { showEnd(); return; }
  enter();
  trail.ahead().catch(() => {});
}

function previous() {
  if (!trail.back()) { say("This is the first product."); return; }
  enter();
  refresh(trail.id);
}

// Draws the server's version of a product, after all earlier requests.
function refresh(id) {
  enqueue(() => trail.fetch(id).then(redraw, error => warn(error.message)));
}

function enter() {
  conflict = null;
  place.replaceChildren(parseHtml(trail.html));
  history.replaceState(null, "", `#${new URLSearchParams({ p: trail.id })}`);
  read();
  stage.enter(trail.id);
  scrollTo(0, 0);
  focus((fields().find(open) ?? fields()[0])?.dataset.key);
}

function showEnd() {
  const empty = parseHtml('<div class="empty"><h1 tabindex="-1">Nothing left here</h1><p class="soft"></p><p><a class="button" href="/">All queues</a></p></div>');
  empty.querySelector("p").textContent = "Every matching field is decided or skipped, or another reviewer has it open.";
  if (trail.begun) { say("Nothing left in this queue."); warnEnd(); return; }
  place.replaceChildren(empty);
  empty.querySelector("h1").focus();
}

function warnEnd() {
  if (place.querySelector(".end")) return;
  const end = parseHtml('<p class="notice end">This is the last product of the queue. <a href="">Reload</a> to look for more, or go to <a href="/">all queues</a>.</p>');
  place.querySelector(".facts").prepend(end);
}

// Fields.

// Reads the versions of the fields, and shows pending verdicts on top of the server's version.
function read() {
  for (const element of fields()) versions.set(`${trail.id}\n${element.dataset.key}`, Number(element.dataset.version));
  for (const action of pending) if (action.product === trail.id) action.verdicts.forEach(mark);
}

function mark(verdict) {
  const element = field(verdict.key);
  if (!element) return;
  element.dataset.decided = "yes";
  element.dataset.shown = JSON.stringify(verdict.values);
  element.classList.add("saving");
  element.querySelector(".value").textContent = valueText(verdict);
}

function focus(name) {
  if (name === undefined) return;
  key = name;
  for (const element of fields()) element.toggleAttribute("aria-current", element.dataset.key === name);
  const element = current();
  element?.setAttribute("aria-current", "true");
  element?.focus({ preventScroll: true });
  element?.scrollIntoView({ block: "nearest" });
  stage.about(element);
  seen.about(trail.id, element);
}

function step(by) {
  const all = fields(), i = all.indexOf(current());
  focus(all[Math.max(0, Math.min(all.length - 1, i + by))]?.dataset.key);
}

function focusNextOpen() {
  const all = fields(), i = all.indexOf(current());
  const nextOpen = [...all.slice(i + 1), ...all.slice(0, i)].find(open);
  if (nextOpen) focus(nextOpen.dataset.key);
  else say("All fields are decided. Press Enter or j for the next product.");
}

// Decisions.

function decide(verdicts, then = focusNextOpen) {
  const product = trail.id, name = batch(), action = { product, verdicts };
  pending.add(action);
  verdicts.forEach(mark);
  const version = verdict => versions.get(`${product}\n${verdict.key}`) ?? 0;
  const body = () => ({ batch: name, filters, card: product,
    verdicts: verdicts.map(verdict => ({ product, ...verdict, version: version(verdict) })) });
  then();
  save("/api/decide", body, answer => {
    pending.delete(action);
    showResult(answer, verdicts);
  }, () => {
    pending.delete(action);
    const html = trail.cards.get(product);
    if (html) redraw({ id: product, html }); // the version before; then the server's, if it answers
    enqueue(() => trail.fetch(product).then(redraw, () => {}));
  });
}

function showResult(answer, verdicts) {
  for (const decision of [...answer.saved, ...answer.conflicts]) versions.set(`${decision.product}\n${decision.key}`, decision.version);
  setLeft(answer.left);
  if (answer.card) redraw(answer.card);
  const other = answer.conflicts.find(decision => decision.product === trail.id);
  if (other) showConflict(other, verdicts.find(verdict => verdict.key === other.key));
  else if (answer.conflicts.length) warn(`${describe(answer.conflicts[0])} on a product that you have left. Their decision was kept.`);
  else if (verdicts.length > 1) say(`${verdicts.length} fields accepted.`);
  else say(`${titleOf(verdicts[0].key)}: ${valueText(verdicts[0])}, saved.`);
}

function redraw(card) {
  trail.keep(card);
  if (card.id !== trail.id) return;
  const old = place.querySelector(".facts"), scroll = old.scrollTop, inside = old.contains(document.activeElement);
  old.replaceWith(parseHtml(card.html).querySelector(".facts"));
  place.querySelector(".facts").scrollTop = scroll;
  read();
  for (const element of fields()) element.toggleAttribute("aria-current", element.dataset.key === key);
  current()?.setAttribute("aria-current", "true");
  seen.about(trail.id, current());
  if (inside || document.activeElement === document.body) current()?.focus({ preventScroll: true });
}

function showConflict(theirs, mine) {
  conflict = mine;
  focus(theirs.key);
  const notice = parseHtml('<div class="conflict"><p></p><div class="tools"><button type="button" data-do="mine"><kbd>m</kbd> Use mine</button> <button type="button" data-do="theirs"><kbd>↵</kbd> Keep theirs</button></div></div>');
  notice.querySelector("p").textContent = `${describe(theirs)}. Your decision (${valueText(mine)}) is not saved.`;
  current().append(notice);
  notice.scrollIntoView({ block: "nearest" });
  warn(`Conflict: ${notice.querySelector("p").textContent}`);
}

const act = {
  accept() {
    const element = current();
    if (conflict) return act.theirs();
    if (!element || fields().every(other => !open(other) && other.dataset.decided)) return next();
    if (element.dataset.decided) return fields().some(open) ? focusNextOpen() : next();
    if (!list(element, "proposal").length) return act.search();
    return decide([{ key, action: "accept", values: list(element, "proposal") }]);
  },
  acceptAll() {
    const sure = fields().filter(({ dataset }) => !dataset.decided && !dataset.doubtful && JSON.parse(dataset.proposal).length);
    if (!sure.length) { say("No field is left to accept that is not in doubt."); return; }
    decide(sure.map(element => ({ key: element.dataset.key, action: "accept", values: list(element, "proposal") })), () => {
      if (current()?.dataset.decided) focusNextOpen();
    });
  },
  choose(value) {
    const element = current();
    if (!element.dataset.many) { decide([{ key, action: "set", values: [value] }]); return; }
    const chosen = list(element, "shown"), values = chosen.includes(value) ? chosen.filter(v => v !== value) : [...chosen, value];
    decide([{ key, action: values.length ? "set" : "clear", values }], () => {});
  },
  async search() {
    const element = current();
    if (!element) return;
    const value = await pick(key, `Choose a value for ${element.dataset.title}`);
    if (value === null) focus(key); else act.choose(value);
  },
  notApplicable() { if (current()?.querySelector("[data-do=notApplicable]")) decide([{ key, action: "not applicable", values: [] }]); },
  clear() { if (current()) decide([{ key, action: "clear", values: [] }]); },
  mine() { if (conflict) { const mine = conflict; conflict = null; decide([mine]); } },
  theirs() { conflict = null; current()?.querySelector(".conflict")?.remove(); focusNextOpen(); },
  undo() {
    const name = batch();
    save("/api/undo", () => ({ batch: name, filters }), async answer => {
      if (!answer.saved.length) { say("Nothing to undo."); return; }
      for (const decision of answer.saved) versions.set(`${decision.product}\n${decision.key}`, decision.version);
      setLeft(answer.left);
      const first = answer.saved[0];
      if (answer.card) {
        trail.keep(answer.card);
        trail.open(answer.card.id);
        enter();
        focus(field(first.key) ? first.key : key);
      }
      say(answer.saved.length > 1 ? `${answer.saved.length} decisions undone.` : `Undone: ${titleOf(first.key)}.`);
    });
  },
  next, previous,
  zoom: () => stage.zoom(),
  heat: () => stage.heat(),
  grid() { location.href = `/grid${location.search}`; },
};

listen({
  j: next, k: previous, ArrowDown: () => step(1), ArrowUp: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1),
  Enter: act.accept, "Shift+Enter": () => { act.acceptAll(); next(); }, a: act.acceptAll, "/": act.search,
  x: act.notApplicable, c: act.clear, u: act.undo, m: act.mine, h: act.heat, z: act.zoom, g: act.grid,
  "[": () => stage.turn(-1), "]": () => stage.turn(1),
  "Shift+ArrowLeft": () => stage.move(-1, 0), "Shift+ArrowRight": () => stage.move(1, 0),
  "Shift+ArrowUp": () => stage.move(0, -1), "Shift+ArrowDown": () => stage.move(0, 1),
  digit: name => { const option = current()?.querySelectorAll(".options button")[Number(name) - 1]; if (option) act.choose(option.dataset.value); },
});

document.addEventListener("click", event => {
  const element = event.target.closest(".field"), button = event.target.closest("button");
  if (element && element.dataset.key !== key) focus(element.dataset.key);
  if (button?.dataset.do) act[button.dataset.do]();
  else if (button?.dataset.value !== undefined && element) act.choose(button.dataset.value);
  else if (button?.dataset.photo) stage.open(Number(button.dataset.photo));
});

const linked = new URLSearchParams(location.hash.slice(1)).get("p"); // the product named in the address
vocabulary();
lease(() => trail.shown);
if (linked && await trail.fetch(linked).then(() => true, () => false)) { trail.open(linked); enter(); trail.ahead().catch(() => {}); }
else await next();
