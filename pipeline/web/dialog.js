// One dialog for all questions. Esc and "Cancel" close it; the browser keeps the focus in it.

const $ = (id) => document.getElementById(id);

/**
 * Ask something.
 * @param title, text what is asked
 * @param name the value of a field for a name; left out, there is none
 * @param choices people to choose from; left out, there is no list
 * @param list the datalist with names to choose from while typing
 * @param portrait draws on a canvas
 * @param buttons [{text, kind: "main" | "danger", nameless: it needs no name, act(value) -> a text
 *   why not, or nothing; null when another question stands there now}]
 * @returns a function that shows a text as long as the question stands and says nothing else
 */
export function ask({ title, text = "", label = "Name", name, list = "names", choices, portrait, buttons }) {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-label").textContent = label;
  $("ask-error").textContent = "";
  $("ask-name-row").hidden = name === undefined;
  $("ask-name").value = name ?? "";
  $("ask-name").setAttribute("list", list);
  $("ask-name").required = name !== undefined;
  $("ask-choice-row").hidden = choices === undefined;
  $("ask-choice").replaceChildren(...(choices ?? []).map((one) => new Option(one, one)));
  $("ask-face").hidden = !portrait;
  portrait?.($("ask-face"));
  const value = () => (choices ? $("ask-choice").value : $("ask-name").value.trim());
  const made = buttons.map((button) => {
    const element = document.createElement("button");
    element.textContent = button.text;
    element.className = button.kind ?? "";
    element.type = button.kind === "main" ? "submit" : "button";
    if (button.kind !== "main") element.addEventListener("click", () => run(button));
    return element;
  });
  const cancel = document.createElement("button");
  cancel.type = "button";
  cancel.textContent = "Cancel";
  cancel.addEventListener("click", () => dialog.close());
  $("ask-buttons").replaceChildren(cancel, ...made);

  let busy = false;
  async function run(button) {
    if (busy) return;
    if (name !== undefined && !button.nameless && !value()) {
      $("ask-error").textContent = "A name is needed.";
      $("ask-name").focus();
      return;
    }
    busy = true;
    $("ask-error").textContent = "";
    for (const element of made) element.disabled = true;
    const refused = await button.act(value());
    busy = false;
    for (const element of made) element.disabled = false;
    if (refused) $("ask-error").textContent = refused;
    else if (refused !== null) dialog.close();
  }
  $("ask-form").onsubmit = (event) => {
    event.preventDefault();
    const main = buttons.find((button) => button.kind === "main");
    if (main) run(main);
  };
  if (!dialog.open) dialog.showModal();
  if (name !== undefined) {
    $("ask-name").focus();
    $("ask-name").select();
  } else if (choices) $("ask-choice").focus();
  else cancel.focus();
  return (text) => {
    const mine = $("ask-buttons").firstChild === cancel;
    if (mine && !busy && !$("ask-error").textContent) $("ask-error").textContent = text;
  };
}

/** An element with properties, without ever reading text as HTML. */
export function element(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

/** A button; `about` says to whom hears it what it is about. */
export function button(text, kind, act, about = "") {
  const made = element("button", { type: "button", className: kind, textContent: text });
  if (about) made.setAttribute("aria-label", `${text}: ${about}`);
  made.addEventListener("click", act);
  return made;
}

/** A moment as the reader writes it. */
export function when(iso) {
  const time = new Date(iso);
  const today = time.toDateString() === new Date().toDateString();
  const clock = { hour: "2-digit", minute: "2-digit" };
  return today ? time.toLocaleTimeString([], clock) : time.toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
}
