// A person's page: what is known of them, sample by sample.

import { ask, button, element, when } from "./dialog.js";

const $ = (id) => document.getElementById(id);

export class PersonPage {
  /** @param command has something done and gives the reply; people does renaming and the like */
  constructor(command, people) {
    Object.assign(this, { command, people });
    this.name = null;
    this.known = ""; // what was shown, so that nothing flickers
  }

  async load(name) {
    const answer = await fetch(`person?name=${encodeURIComponent(name)}`).catch(() => null);
    if (!answer) return;
    const text = await answer.text();
    if (!answer.ok || text === "null") {
      location.hash = "#live"; // forgotten, or another name by now
      return;
    }
    if (this.name === name && this.known === text) return;
    const chosen = this.name === name ? new Set(this.chosen()) : new Set();
    Object.assign(this, { name, known: text, person: JSON.parse(text) });
    this.show(chosen);
  }

  show(chosen) {
    const { name, samples, seen, created, denied, in_head: trained } = this.person;
    $("person-title").textContent = name;
    const odd = samples.filter((sample) => sample.outlier !== null).length;
    $("person-facts").textContent = [
      `known since ${when(created)}`,
      seen ? `last seen ${when(seen)}` : "not seen by a camera yet",
      `${samples.length} ${samples.length === 1 ? "example" : "examples"}`,
      odd ? `${odd} unlike the others` : "",
      trained ? "trained" : "",
    ].filter(Boolean).join(" · ");
    const act = (text, kind, does) => button(text, kind, does, name);
    $("person-actions").replaceChildren(
      act("Rename", "", () => this.people.rename(name)),
      ...(this.people.everyone.length > 1 ? [act("Merge", "", () => this.people.merge(name))] : []),
      act("Forget", "danger", () => this.people.forget(name)),
    );
    $("samples").replaceChildren(...samples.map((sample) => this.sample(sample, chosen)));
    $("denied").replaceChildren(...denied.map((one) => this.denial(one)));
    $("denied-title").hidden = !denied.length;
    $("denied-title").textContent = `Not ${name}`;
    this.count();
  }

  sample({ id, source, created, picture, outlier }, chosen) {
    const item = element("li", { className: outlier === null ? "sample" : "sample odd" });
    const box = element("input", { type: "checkbox", value: String(id), checked: chosen.has(id) });
    box.addEventListener("change", () => this.count());
    const label = element("label");
    const says = source.replace(/^live .*/, "live") || "example";
    const look = picture
      ? element("img", { src: `face?sample=${id}`, alt: "", loading: "lazy" })
      : element("span", { className: "none", textContent: "no picture" });
    label.append(look, box, element("span", { textContent: `${says}, ${when(created)}` }));
    item.append(label);
    if (outlier !== null) {
      item.append(element("p", { className: "odd-text", textContent: `Unlike the others (${outlier.toFixed(2)})` }));
    }
    if (picture) item.append(button("Use as picture", "", () => this.done({ type: "picture", name: this.name, sample: id })));
    return item;
  }

  denial({ id, picture, created }) {
    const item = element("li", { className: "sample" });
    if (picture) item.append(element("img", { src: `face?sample=${id}`, alt: "", loading: "lazy" }));
    item.append(
      element("span", { className: "quiet", textContent: `said ${when(created)}` }),
      button("Take back", "", () => this.done({ type: "remove", name: this.name, ids: [id] }), `that this is not ${this.name}`),
    );
    return item;
  }

  chosen() {
    return [...$("samples").querySelectorAll("input:checked")].map((box) => Number(box.value));
  }

  count() {
    const count = this.chosen().length;
    const all = this.person.samples.length;
    $("split").disabled = !count || count === all;
    $("remove").disabled = !count;
    $("chosen").textContent = count ? `${count} of ${all} chosen` : "Choose examples to remove them or to give them to somebody else.";
    $("two").hidden = new Set(this.person.samples.map((sample) => sample.part)).size < 2;
  }

  /** Choose what the grouping takes for another person than most of the examples. */
  chooseOthers() {
    const others = new Set(this.person.samples.filter((sample) => sample.part > 0).map((sample) => sample.id));
    for (const box of $("samples").querySelectorAll("input")) box.checked = others.has(Number(box.value));
    this.count();
  }

  async done(command) {
    const reply = await this.command(command);
    if (!reply.ok) return reply.error;
    this.known = "";
    await this.load(this.name);
    return undefined;
  }

  remove() {
    const ids = this.chosen();
    const all = ids.length === this.person.samples.length;
    ask({
      title: `Remove ${ids.length} of ${this.name}’s examples?`,
      text: all ? `Nothing is left of ${this.name} then. It can be undone for a day.` : "It can be undone for a day.",
      buttons: [{ text: "Remove", kind: "danger", act: () => this.done({ type: "remove", name: this.name, ids }) }],
    });
  }

  split() {
    const ids = this.chosen();
    ask({
      title: `Whose are these ${ids.length}?`,
      text: "The chosen examples are given to this person, new or known.",
      name: "",
      buttons: [
        { text: "Save", kind: "main", act: (name) => this.done({ type: "split", name: this.name, ids, new: name }) },
      ],
    });
  }
}
