// Unknown faces in groups: who they are, or that they do not matter.

import { ask, button, element, when } from "./dialog.js";

export class Review {
  /** @param command has something done and gives the reply; names() are those known */
  constructor(list, nobody, note, command, names) {
    Object.assign(this, { list, nobody, note, command, names });
  }

  /** Ask the server for the groups and show them. */
  async load() {
    const answer = await fetch("review").catch(() => null);
    if (!answer?.ok) return;
    const { groups, total } = await answer.json();
    this.nobody.hidden = groups.length > 0;
    this.note.textContent = total > groups.length ? `The ${groups.length} that were met most often, of ${total}.` : "";
    const focused = this.list.contains(document.activeElement);
    this.list.replaceChildren(...groups.map((group) => this.item(group)));
    if (focused) (this.list.querySelector("button") ?? this.nobody).focus();
  }

  item(group) {
    const { ids, shown, guess, first, last, sources } = group;
    const faces = element("div", { className: "faces" });
    faces.append(...shown.map((id, i) => face(`face?unknown=${id}`, i ? "small" : "large")));
    const count = `${ids.length} ${ids.length === 1 ? "picture" : "pictures"}`;
    const time = when(first) === when(last) ? when(last) : `${when(first)} to ${when(last)}`;
    const title = guess ? `Perhaps ${guess}` : "Unknown";
    const text = element("div");
    text.append(
      element("h3", { textContent: title }),
      element("p", { className: "quiet", textContent: [count, time, ...sources].join(" · ") }),
    );
    const actions = element("div", { className: "actions" });
    const about = `${title}, ${count}`;
    const known = this.names();
    actions.append(
      ...(guess ? [button(`It is ${guess}`, "main", () => this.named(ids, guess), about)] : []),
      button("Name", guess ? "" : "main", () => this.name(ids, shown), about),
      ...(known.length ? [button("Same as …", "", () => this.same(ids, shown), about)] : []),
      ...(guess ? [button(`Not ${guess}`, "", () => this.done({ type: "not", ids, name: guess }), about)] : []),
      button("Ignore for ever", "", () => this.done({ type: "judge", ids, verdict: "ignored" }), about),
      button("Not a face", "", () => this.done({ type: "judge", ids, verdict: "not a face" }), about),
    );
    const item = element("li", { className: "card" });
    item.append(text, faces, actions);
    return item;
  }

  async done(command) {
    const reply = await this.command(command);
    if (reply.ok) await this.load();
    else if (reply.known) return reply;
    else ask({ title: "Not done", text: reply.error, buttons: [] });
    return undefined;
  }

  /** Name a group; asks once more when the faces look like somebody else. */
  async named(ids, name, sure = false) {
    const reply = await this.command({ type: "name", ids, name, sure });
    if (reply.ok) {
      await this.load();
      return undefined;
    }
    if (!reply.known) return reply.error;
    const other = reply.known.name;
    ask({
      title: `Is this ${other}?`,
      text: `${reply.error}.`,
      buttons: [
        { text: `It is ${name} all the same`, act: () => this.named(ids, name, true) },
        ...(other === name ? [] : [{ text: `Yes, ${other}`, kind: "main", act: () => this.named(ids, other, true) }]),
      ],
    });
    return null;
  }

  name(ids) {
    ask({
      title: "Who is this?",
      name: "",
      buttons: [{ text: "Save", kind: "main", act: (name) => this.named(ids, name) }],
    });
  }

  same(ids) {
    ask({
      title: "The same as whom?",
      choices: this.names(),
      buttons: [{ text: "Save", kind: "main", act: (name) => this.named(ids, name) }],
    });
  }
}

function face(src, className) {
  return element("img", { src, className, alt: "", loading: "lazy" });
}
