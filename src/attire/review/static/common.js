// What the product screen and the grid share: saving, messages, keys, help, and the search through a key's values.

const live = document.getElementById("live"), alertBox = document.getElementById("alert");
const saved = document.getElementById("saved");
let waiting = 0, chain = Promise.resolve();

export const say = text => { live.textContent = ""; requestAnimationFrame(() => { live.textContent = text; }); };
export const warn = text => { alertBox.textContent = text; show(text, "bad"); };

function show(text, kind) {
  saved.textContent = text;
  saved.className = `saved ${kind}`;
}

const pause = ms => new Promise(done => setTimeout(done, ms));

// Every message carries the page's name, to which the server has leased what is shown here.
const message = body => JSON.stringify({ page: document.body.dataset.page, ...body });
export async function post(path, body) {
  const response = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: message(body),
  });
  if (response.ok) return response.json();
  throw new Error(await response.text());
}

// A server that does not answer is asked again until it does; one that refuses is not.
async function insist(path, body) {
  for (;;) {
    try {
      return await post(path, body);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // fetch's word for a lost connection
      show("not saved: no connection, trying again", "bad");
      await pause(2000);
      show("saving…", "busy");
    }
  }
}

// Runs `task` when all that was asked for before is done, so that it sees what that has brought.
export const turn = task => (chain = chain.then(task, task));

// Saves what `make` makes in its turn, then hands the answer to `then`; or calls `refused`, where the server says no.
export function save(path, make, then, refused = () => {}) {
  waiting += 1;
  show("saving…", "busy");
  turn(async () => {
    let answer = null;
    try {
      answer = await insist(path, make());
    } catch (error) {
      warn(`Not saved: ${error.message}`);
      refused();
    } finally {
      waiting -= 1;
      if (!waiting && answer) {
        show(`saved ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })}`, "good");
      }
    }
    if (answer) then(answer);
  });
}
addEventListener("beforeunload", event => { if (waiting) event.preventDefault(); });

// Products are given back when the page goes, and asked for again when it is seen again: until then others could have
// them. What a page that the browser had kept shows may be decided meanwhile.
export function lease(products) {
  const tell = (path, body) => navigator.sendBeacon(path, new Blob([message(body)], { type: "application/json" }));
  addEventListener("pagehide", () => tell("/api/release", {}));
  addEventListener("pageshow", event => { if (event.persisted) location.reload(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) tell("/api/hold", { products: products() }); });
}

export const batch = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), b => b.toString(16).padStart(2, "0")).join("");
export const setLeft = n => { const left = document.getElementById("left"); if (left) left.textContent = n.toLocaleString("en"); };

export function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

// What a verdict says, or what holds of a field, in the titles of its values.
export const worded = ({ key, values, action, state = action }) => values.map(value =>
  words[key]?.find(([name]) => name === value)?.[1] ?? value).join(", ") || (["clear", "unknown"].includes(state) ? "cleared" : "not applicable");

export function told(fate) {
  if (!fate.reviewer) return "The store has no decision on this field any more";
  const when = Math.max(0, (Date.now() - new Date(fate.at)) / 1000);
  const ago = when < 90 ? "just now" : when < 5400 ? `${Math.round(when / 60)} minutes ago` : new Date(fate.at).toLocaleString();
  const what = fate.state === "known" ? `chose ${worded(fate)}` : fate.state === "unknown" ? "cleared it"
    : fate.state === "open" ? "undid a decision" : `said ${fate.state}`;
  return `${fate.reviewer} ${what} ${ago}`;
}

// Keys. `actions` maps an event's key (or "Shift+Key") to a function; typing in a field is never taken for one.
const shortcuts = document.getElementById("shortcuts"), help = document.getElementById("help");
export function listen(actions) {
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const inside = event.target.closest("input:not([type=checkbox]), select, textarea");
    const name = (event.shiftKey && (event.key.length > 1 || event.key === " ") ? "Shift+" : "") + event.key;
    const pressed = event.target.closest("button, a, summary, label") && (event.key === "Enter" || event.key === " ");
    const single = event.key.length === 1 && event.key !== " ";
    if (inside || pressed || (single && !shortcuts.checked)) return;
    const action = name === "?" ? () => help.showModal() : actions[name] ?? (/^[1-9]$/.test(name) ? actions.digit : null);
    if (!action) return;
    event.preventDefault();
    action(name, event);
  });
}
if (help) {
  document.getElementById("help-button").onclick = () => help.showModal();
  shortcuts.checked = localStorage.getItem("attire-shortcuts") !== "off";
  shortcuts.onchange = () => localStorage.setItem("attire-shortcuts", shortcuts.checked ? "on" : "off");
}

let words = {}, coming = null;
export const vocabulary = () => (coming ??= fetch("/words.json").then(response => response.json()).then(came => (words = came)));
const fold = text => text.toLocaleLowerCase().normalize("NFKD").replace(/[\p{M}]/gu, "").replace(/[\W_]+/gu, " ").trim();

// Ask for one of a key's values; resolves to null where the dialog was closed without.
const dialog = document.getElementById("search");
export async function pick(key, title) {
  const values = (await vocabulary())[key];
  const text = document.getElementById("search-text"), list = document.getElementById("search-list");
  document.getElementById("search-title").textContent = title;
  let at = 0, chosen = null;
  const mark = () => {
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", i === at));
    const current = list.children[at];
    if (current) { text.setAttribute("aria-activedescendant", current.id); current.scrollIntoView({ block: "nearest" }); }
    else text.removeAttribute("aria-activedescendant");
  };
  const draw = () => {
    const wanted = fold(text.value);
    const rank = spelt => Math.min(...spelt.map(word => { const i = fold(word).indexOf(wanted); return i < 0 ? 1e6 : i; }));
    const found = values.map(spelt => [rank(spelt), spelt]).filter(([score]) => score < 1e6);
    found.sort((a, b) => (wanted ? a[0] - b[0] : 0));
    list.replaceChildren(...found.map(([, [value, shown]], i) => {
      const option = document.createElement("li");
      Object.assign(option, { id: `search-${i}`, textContent: shown });
      option.dataset.value = value;
      option.setAttribute("role", "option");
      option.onclick = () => { chosen = value; dialog.close(); };
      return option;
    }));
    document.getElementById("search-none").hidden = found.length > 0;
    at = 0;
    mark();
  };
  text.value = "";
  text.oninput = draw;
  text.onkeydown = event => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { at = Math.max(0, Math.min(list.children.length - 1, at + step)); mark(); event.preventDefault(); }
    if (event.key === "Enter") { chosen = list.children[at]?.dataset.value ?? null; if (chosen !== null) dialog.close(); event.preventDefault(); }
  };
  draw();
  dialog.showModal();
  text.focus();
  await new Promise(done => dialog.addEventListener("close", done, { once: true }));
  return chosen;
}
