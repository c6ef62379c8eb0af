// The part of the home page that starts learning, follows it, and goes on with the new predictions.
import { post, say, warn } from "./common.js";

const EVERY_MS = 1000;
const region = document.getElementById("learn");
const state = () => region.querySelector("[data-state]").dataset.state;
const SAID = { running: "Learning has started.", finished: "Learning is finished.", failed: "Learning failed." };

let shown = "";
function show(learning) {
  const before = state(), focused = region.contains(document.activeElement);
  if (shown !== learning.html) region.innerHTML = shown = learning.html;
  if (learning.state === before) return;
  say(SAID[learning.state] ?? "The page has the new predictions.");
  if (focused) document.getElementById("learn-title").focus();
}

async function follow() {
  while (state() === "running") {
    await new Promise(done => setTimeout(done, EVERY_MS));
    try {
      const response = await fetch("/api/learn");
      if (response.ok) show(await response.json());
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // no connection: tried again
    }
  }
}

region.addEventListener("click", async event => {
  const button = event.target.closest("[data-learn]");
  if (!button) return;
  button.disabled = true;
  const goOn = button.dataset.learn === "continue";
  try {
    show(await post(goOn ? "/api/learn/continue" : "/api/learn", {}));
    if (goOn) location.reload(); // the queues are those of the new predictions
  } catch (error) {
    warn(error.message);
    button.disabled = false;
  }
  follow();
});
follow();
