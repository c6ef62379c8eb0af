// Updates the filter's list of values when its key changes.
import { vocabulary } from "./common.js";

const form = document.querySelector(".filter form");
if (form) {
  const fill = async () => {
    const words = form.key.value ? (await vocabulary())[form.key.value] : [];
    document.getElementById("values").replaceChildren(...words.map(([value]) => new Option(value)));
  };
  form.key.addEventListener("change", fill);
  fill();
}
