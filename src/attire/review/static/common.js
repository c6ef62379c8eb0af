// Shared by the product page and the grid: saving, messages, keyboard shortcuts, help, and the search for values.

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

// Every message contains the page's id, which holds the leases on the products shown here.
const message = body => JSON.stringify({ page: document.body.dataset.page, ...body });
export async function post(path, body) {
  const response = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: message(body),
  });
  if (response.ok) return response.json();
  throw new Error(await response.text());
}

// Retries until the server answers. A refusal is not retried.
async function postUntilAnswered(path, body) {
  for (;;) {
    try {
      return await post(path, body);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // `fetch` throws a TypeError for a lost connection
      show("not saved: no connection, trying again", "bad");
      await pause(2000);
      show("saving…", "busy");
    }
  }
}

// Runs `task` after all earlier tasks, so that it sees their results.
export const enqueue = task => (chain = chain.then(task, task));

// Enqueues a request: posts the result of `makeBody`, then calls `then` with the answer, or `refused`.
export function save(path, makeBody, then, refused = () => {}) {
  waiting += 1;
  show("saving…", "busy");
  enqueue(async () => {
    let answer = null;
    try {
      answer = await postUntilAnswered(path, makeBody());
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

// Releases the page's products when it is closed, and leases them again when it becomes visible again. A page from the
// browser's back/forward cache is reloaded, because others may have decided its products.
export function lease(products) {
  const send = (path, body) => navigator.sendBeacon(path, new Blob([message(body)], { type: "application/json" }));
  addEventListener("pagehide", () => send("/api/release", {}));
  addEventListener("pageshow", event => { if (event.persisted) location.reload(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) send("/api/hold", { products: products() }); });
}

export const batch = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), b => b.toString(16).padStart(2, "0")).join("");
export const setLeft = n => { const left = document.getElementById("left"); if (left) left.textContent = n.toLocaleString("en"); };

export function parseHtml(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

// The values of a verdict or decision as text, with their titles.
export const valueText = ({ key, values, action, state = action }) => values.map(value =>
  words[key]?.find(([name]) => name === value)?.[1] ?? value).join(", ") || (["clear", "unknown"].includes(state) ? "cleared" : "not applicable");

// A decision as a sentence without a full stop: who did what, and when.
export function describe(decision) {
  if (!decision.reviewer) return "The store no longer has a decision on this field";
  const seconds = Math.max(0, (Date.now() - new Date(decision.at)) / 1000);
  const ago = seconds < 90 ? "just now" : seconds < 5400 ? `${Math.round(seconds / 60)} minutes ago` : new Date(decision.at).toLocaleString();
  const action = decision.state === "known" ? `chose ${valueText(decision)}` : decision.state === "unknown" ? "cleared it"
    : decision.state === "open" ? "undid a decision" : `marked it as ${decision.state}`;
  return `${decision.reviewer} ${action} ${ago}`;
}

// Keyboard shortcuts. `actions` maps an event's key (or "Shift+Key") to a function; typing in a form field is ignored.
const shortcuts = document.getElementById("shortcuts"), help = document.getElementById("help");
export function listen(actions) {
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const inside = event.target.closest("input:not([type=checkbox]), select, textarea");
    const name = (event.shiftKey && (event.key.length > 1 || event.key === " ") ? "Shift+" : "") + event.key;
    const activates = event.target.closest("button, a, summary, label") && (event.key === "Enter" || event.key === " ");
    const single = event.key.length === 1 && event.key !== " ";
    if (inside || activates || (single && !shortcuts.checked)) return;
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

let words = {}, loading = null;
export const vocabulary = () => (loading ??= fetch("/words.json").then(response => response.json()).then(json => (words = json)));
const fold = text => text.toLocaleLowerCase().normalize("NFKD").replace(/[\p{M}]/gu, "").replace(/[\W_]+/gu, " ").trim();

// Asks for one of a key's values; resolves to null if the dialog is cancelled.
const dialog = document.getElementById("search");
export async function pick(key, title) {
  const text = document.getElementById("search-text"), list = document.getElementById("search-list");
  document.getElementById("search-title").textContent = title;
  let values = [], at = 0, chosen = null;
  const choose = value => { if (value !== undefined) { chosen = value; dialog.close(); } };
  const mark = () => {
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", i === at));
    const current = list.children[at];
    if (current) { text.setAttribute("aria-activedescendant", current.id); current.scrollIntoView({ block: "nearest" }); }
    else text.removeAttribute("aria-activedescendant");
  };
  const draw = () => {
    const query = fold(text.value);
    const rank = names => Math.min(...names.map(name => { const i = fold(name).indexOf(query); return i < 0 ? 1e6 : i; }));
    const matches = values.map(names => [rank(names), names]).filter(([score]) => score < 1e6);
    matches.sort((a, b) => (query ? a[0] - b[0] : 0));
    list.replaceChildren(...matches.map(([, [value, title]], i) => {
      const option = document.createElement("li");
      Object.assign(option, { id: `search-${i}`, textContent: title });
      option.dataset.value = value;
      option.setAttribute("role", "option");
      option.onclick = () => choose(value);
      return option;
    }));
    document.getElementById("search-none").hidden = !values.length || matches.length > 0;
    at = 0;
    mark();
  };
  text.value = "";
  list.replaceChildren();
  // The dialog opens before the values are there, so that what is typed meanwhile goes into it.
  const ready = vocabulary().then(all => { values = all[key]; draw(); });
  text.oninput = draw;
  text.onkeydown = event => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { at = Math.max(0, Math.min(list.children.length - 1, at + step)); mark(); event.preventDefault(); }
    if (event.key === "Enter") { event.preventDefault(); ready.then(() => choose(list.children[at]?.dataset.value)); }
  };
  dialog.showModal();
  text.focus();
  await new Promise(done => dialog.addEventListener("close", done, { once: true }));
  return chosen;
}
