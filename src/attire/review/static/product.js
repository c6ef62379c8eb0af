// One product a screen. The server draws each product as HTML; here it is shown, and judged by keyboard.
import { batch, lease, listen, parsed, pick, save, say, setLeft, told, turn, vocabulary, warn, worded } from "./common.js";
import { Stage } from "./stage.js";
import { Trail } from "./trail.js";

const place = document.getElementById("card");
const filters = JSON.parse(place.dataset.filters);
const stage = new Stage(place, place.dataset.explains);
const trail = new Trail(filters);
const versions = new Map(), underway = new Set();
let key = null, conflict = null;

const fields = () => [...place.querySelectorAll(".field")];
const field = name => fields().find(one => one.dataset.key === name);
const titled = name => field(name)?.dataset.title ?? name;
const here = () => (key === null ? null : field(key));
const open = one => one.dataset.wanted && !one.dataset.decided;
const list = (one, name) => JSON.parse(one.dataset[name]);

// Products.

async function next() {
  let found = false;
  try {
    found = await trail.next();
  } catch (error) { warn(error.message); return; }
  if (!found) { nothing(); return; }
  enter();
  trail.ahead().catch(() => {});
}

function previous() {
  if (!trail.back()) { say("This is the first product."); return; }
  enter();
  refresh(trail.id);
}

// Draws a product as the server knows it, once all that was decided before is there.
function refresh(id) {
  turn(() => trail.fetch(id).then(redraw, error => warn(error.message)));
}

function enter() {
  conflict = null;
  place.replaceChildren(parsed(trail.html));
  history.replaceState(null, "", `#${new URLSearchParams({ p: trail.id })}`);
  read();
  stage.enter(trail.id);
  scrollTo(0, 0);
  focus((fields().find(open) ?? fields()[0])?.dataset.key);
}

function nothing() {
  const empty = parsed('<div class="empty"><h1 tabindex="-1">Nothing left here</h1><p class="soft"></p><p><a class="button" href="/">All queues</a></p></div>');
  empty.querySelector("p").textContent = "Every field that matches is decided, skipped, or with another reviewer at the moment.";
  if (trail.begun) { say("Nothing left in this queue."); warnEnd(); return; }
  place.replaceChildren(empty);
  empty.querySelector("h1").focus();
}

function warnEnd() {
  if (place.querySelector(".end")) return;
  const end = parsed('<p class="notice end">This was the last product of the queue. <a href="">Look for more</a> or go to <a href="/">all queues</a>.</p>');
  place.querySelector(".facts").prepend(end);
}

// Fields.

// What the server says of the fields, and over it what is not saved yet.
function read() {
  for (const one of fields()) versions.set(`${trail.id}\n${one.dataset.key}`, Number(one.dataset.version));
  for (const stroke of underway) if (stroke.product === trail.id) stroke.verdicts.forEach(mark);
}

function mark(verdict) {
  const one = field(verdict.key);
  if (!one) return;
  one.dataset.decided = "yes";
  one.dataset.shown = JSON.stringify(verdict.values);
  one.classList.add("saving");
  one.querySelector(".value").textContent = worded(verdict);
}

function focus(name) {
  if (name === undefined) return;
  key = name;
  for (const one of fields()) one.toggleAttribute("aria-current", one.dataset.key === name);
  const one = here();
  one?.setAttribute("aria-current", "true");
  one?.focus({ preventScroll: true });
  one?.scrollIntoView({ block: "nearest" });
  stage.about(one);
}

function step(by) {
  const all = fields(), i = all.indexOf(here());
  focus(all[Math.max(0, Math.min(all.length - 1, i + by))]?.dataset.key);
}

function onward() {
  const all = fields(), i = all.indexOf(here());
  const rest = [...all.slice(i + 1), ...all.slice(0, i)].find(open);
  if (rest) focus(rest.dataset.key);
  else say("All decided. Enter or j: next product.");
}

// Decisions.

function decide(verdicts, then = onward) {
  const product = trail.id, name = batch(), stroke = { product, verdicts };
  underway.add(stroke);
  verdicts.forEach(mark);
  const version = verdict => versions.get(`${product}\n${verdict.key}`) ?? 0;
  const body = () => ({ batch: name, filters, card: product,
    verdicts: verdicts.map(verdict => ({ product, ...verdict, version: version(verdict) })) });
  then();
  save("/api/decide", body, answer => {
    underway.delete(stroke);
    came(answer, verdicts);
  }, () => {
    underway.delete(stroke);
    const html = trail.cards.get(product);
    if (html) redraw({ id: product, html }); // as it was; then as the server knows it, if it can say
    turn(() => trail.fetch(product).then(redraw, () => {}));
  });
}

function came(answer, verdicts) {
  for (const fate of [...answer.saved, ...answer.conflicts]) versions.set(`${fate.product}\n${fate.key}`, fate.version);
  setLeft(answer.left);
  if (answer.card) redraw(answer.card);
  const lost = answer.conflicts.find(fate => fate.product === trail.id);
  if (lost) clash(lost, verdicts.find(verdict => verdict.key === lost.key));
  else if (answer.conflicts.length) warn(`${told(answer.conflicts[0])} on a product that you have left. Theirs holds.`);
  else if (verdicts.length > 1) say(`${verdicts.length} fields accepted.`);
  else say(`${titled(verdicts[0].key)}: ${worded(verdicts[0])}, saved.`);
}

function redraw(card) {
  trail.keep(card);
  if (card.id !== trail.id) return;
  const old = place.querySelector(".facts"), scroll = old.scrollTop, inside = old.contains(document.activeElement);
  old.replaceWith(parsed(card.html).querySelector(".facts"));
  place.querySelector(".facts").scrollTop = scroll;
  read();
  for (const one of fields()) one.toggleAttribute("aria-current", one.dataset.key === key);
  here()?.setAttribute("aria-current", "true");
  if (inside || document.activeElement === document.body) here()?.focus({ preventScroll: true });
}

function clash(fate, mine) {
  conflict = mine;
  focus(fate.key);
  const notice = parsed('<div class="conflict"><p></p><div class="tools"><button type="button" data-do="mine"><kbd>m</kbd> Use mine</button> <button type="button" data-do="theirs"><kbd>↵</kbd> Keep theirs</button></div></div>');
  notice.querySelector("p").textContent = `${told(fate)}. Yours was ${worded(mine)}; it is not saved.`;
  here().append(notice);
  notice.scrollIntoView({ block: "nearest" });
  warn(`Conflict: ${notice.querySelector("p").textContent}`);
}

const act = {
  accept() {
    const one = here();
    if (conflict) return act.theirs();
    if (!one || fields().every(other => !open(other) && other.dataset.decided)) return next();
    if (one.dataset.decided) return fields().some(open) ? onward() : next();
    if (!list(one, "proposal").length) return act.search();
    return decide([{ key, action: "accept", values: list(one, "proposal") }]);
  },
  acceptAll() {
    const sure = fields().filter(one => !one.dataset.decided && !one.dataset.doubtful && list(one, "proposal").length);
    if (!sure.length) { say("Nothing without doubt is left to accept."); return; }
    decide(sure.map(one => ({ key: one.dataset.key, action: "accept", values: list(one, "proposal") })), () => {
      if (here()?.dataset.decided) onward();
    });
  },
  choose(value) {
    const one = here();
    if (!one.dataset.many) { decide([{ key, action: "set", values: [value] }]); return; }
    const chosen = list(one, "shown"), values = chosen.includes(value) ? chosen.filter(v => v !== value) : [...chosen, value];
    decide([{ key, action: values.length ? "set" : "clear", values }], () => {});
  },
  async search() {
    const one = here();
    if (!one) return;
    const value = await pick(key, `${one.dataset.title}: which value?`);
    if (value === null) focus(key); else act.choose(value);
  },
  notApplicable() { if (here()?.querySelector("[data-do=notApplicable]")) decide([{ key, action: "not applicable", values: [] }]); },
  clear() { if (here()) decide([{ key, action: "clear", values: [] }]); },
  mine() { if (conflict) { const mine = conflict; conflict = null; decide([mine]); } },
  theirs() { conflict = null; here()?.querySelector(".conflict")?.remove(); onward(); },
  undo() {
    save("/api/undo", () => ({ filters }), async answer => {
      if (!answer.saved.length) { say("Nothing to undo."); return; }
      for (const fate of answer.saved) versions.set(`${fate.product}\n${fate.key}`, fate.version);
      setLeft(answer.left);
      const fate = answer.saved[0];
      if (answer.card) {
        trail.keep(answer.card);
        trail.open(answer.card.id);
        enter();
        focus(field(fate.key) ? fate.key : key);
      }
      say(answer.saved.length > 1 ? `${answer.saved.length} decisions undone.` : `Undone: ${titled(fate.key)}.`);
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
  digit: name => { const option = here()?.querySelectorAll(".options button")[Number(name) - 1]; if (option) act.choose(option.dataset.value); },
});

document.addEventListener("click", event => {
  const one = event.target.closest(".field"), button = event.target.closest("button");
  if (one && one.dataset.key !== key) focus(one.dataset.key);
  if (button?.dataset.do) act[button.dataset.do]();
  else if (button?.dataset.value !== undefined && one) act.choose(button.dataset.value);
  else if (button?.dataset.photo) stage.open(Number(button.dataset.photo));
});

const wanted = new URLSearchParams(location.hash.slice(1)).get("p");
vocabulary();
lease(() => trail.shown);
if (wanted && await trail.fetch(wanted).then(() => true, () => false)) { trail.open(wanted); enter(); trail.ahead().catch(() => {}); }
else await next();
