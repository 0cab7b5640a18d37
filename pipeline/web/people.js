// The list of people: who they are, and renaming, merging, forgetting them.

import { ask } from "./dialog.js";

export class People {
  /** @param command has something done and gives the reply */
  constructor(list, nobody, names, command) {
    Object.assign(this, { list, nobody, names, command });
    this.everyone = [];
  }

  show(everyone) {
    this.everyone = everyone;
    this.nobody.hidden = everyone.length > 0;
    this.names.replaceChildren(...everyone.map((person) => new Option(person.name)));
    const before = new Map([...this.list.children].map((item) => [item.dataset.key, item]));
    this.list.replaceChildren(
      ...everyone.map((person) => {
        // Whoever is alone has nobody to merge with; being seen changes nothing here.
        const key = JSON.stringify([{ ...person, seen: null }, everyone.length > 1]);
        return before.get(key) ?? this.item(person, key);
      }),
    );
  }

  item(person, key) {
    const item = document.createElement("li");
    item.dataset.key = key;
    const name = document.createElement("a");
    name.className = "name";
    name.textContent = person.name;
    name.href = `#person/${encodeURIComponent(person.name)}`;
    const count = document.createElement("div");
    count.className = "quiet";
    count.textContent =
      `${person.samples} ${person.samples === 1 ? "example" : "examples"}` +
      (person.in_head ? ", trained" : "");
    const actions = document.createElement("div");
    actions.className = "actions";
    const others = this.everyone.length > 1;
    actions.append(
      this.button(person, "Rename", () => this.rename(person.name)),
      ...(others ? [this.button(person, "Merge", () => this.merge(person.name))] : []),
      this.button(person, "Forget", () => this.forget(person.name), "danger"),
    );
    const text = document.createElement("div");
    text.append(name, count);
    item.append(thumbnail(person), text, actions);
    return item;
  }

  button(person, text, act, kind = "") {
    const button = document.createElement("button");
    button.type = "button";
    button.className = kind;
    button.textContent = text;
    button.setAttribute("aria-label", `${text} ${person.name}`);
    button.addEventListener("click", act);
    return button;
  }

  async done(command) {
    const reply = await this.command(command);
    return reply.ok ? undefined : reply.error;
  }

  rename(old) {
    ask({
      title: `Rename ${old}`,
      label: "New name",
      name: old,
      buttons: [
        { text: "Rename", kind: "main", act: (name) => this.renamed(old, name) },
      ],
    });
  }

  async renamed(old, name) {
    const refused = await this.done({ type: "rename", old, new: name });
    const here = location.hash === `#person/${encodeURIComponent(old)}`;
    if (!refused && here) location.hash = `#person/${encodeURIComponent(name)}`;
    return refused;
  }

  merge(source) {
    ask({
      title: `Merge ${source}`,
      text: `If ${source} is someone who is also known by another name, choose whom. That name stays, with the examples of both.`,
      choices: this.everyone.map((person) => person.name).filter((name) => name !== source),
      buttons: [
        { text: "Merge", kind: "main", act: (into) => this.done({ type: "merge", source, into }) },
      ],
    });
  }

  forget(name) {
    ask({
      title: `Forget ${name}?`,
      text: "Name, pictures and everything learned are deleted at once, here and on the disk. This cannot be undone.",
      buttons: [{ text: "Forget", kind: "danger", act: () => this.done({ type: "forget", name }) }],
    });
  }
}

function thumbnail(person) {
  const letter = document.createElement("div");
  letter.className = "face";
  letter.setAttribute("aria-hidden", "true");
  letter.textContent = [...person.name][0]?.toUpperCase() ?? "?";
  if (!person.crops) return letter; // no picture was kept, so there is none to ask for
  const image = document.createElement("img");
  image.className = "face";
  image.alt = "";
  image.width = image.height = 56;
  image.src =
    `thumbnail?name=${encodeURIComponent(person.name)}&v=${person.samples}.${person.crops}` +
    `.${encodeURIComponent(person.created)}`;
  image.addEventListener("error", () => image.replaceWith(letter)); // forgotten meanwhile
  return image;
}
