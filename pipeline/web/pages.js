// A long list of the server's, shown page by page.

import { button, element } from "./dialog.js";

/** A number and what it counts. */
export const count = (n, one, many = `${one}s`) => `${n.toLocaleString()} ${n === 1 ? one : many}`;

/** Ask the server about the library; gives its answer, with an `error` when there was none. */
export async function asked(path, options) {
  try {
    const answer = await fetch(`library/${path}`, options);
    return answer.ok ? await answer.json() : { error: (await answer.text()).trim() };
  } catch {
    return { error: "There is no connection." };
  }
}

/** A list of the server's that is shown page by page. */
export class Pages {
  /** @param open whether it is shown before somebody asks for it */
  constructor(title, path, item, { open = true, told = () => {} } = {}) {
    Object.assign(this, { path, item, open, told });
    this.rows = [];
    this.title = element("h3", { textContent: title, id: `list-${path.replace(/\W+/g, "-")}`, tabIndex: -1 });
    this.list = element("ul", { className: "many" });
    this.list.setAttribute("aria-labelledby", this.title.id);
    this.more = button("Show more", "", () => this.next(), title);
    this.more.hidden = true;
    this.element = element("section", { hidden: true });
    this.element.append(this.title, this.list, this.more);
    this.name = title;
  }

  /** Show as many as were shown before; gives an error, or nothing. */
  async load(total = 0) {
    this.element.hidden = !total && !this.open;
    if (!this.open) {
      this.offer(`Show ${total.toLocaleString()}`);
      return undefined;
    }
    const wanted = this.rows.length;
    const rows = [];
    let answer;
    do {
      answer = await asked(`${this.path}&offset=${rows.length}`);
      if (answer.error) return answer.error;
      rows.push(...answer.rows);
    } while (rows.length < wanted && answer.rows.length);
    this.put(answer, rows);
    return undefined;
  }

  async next() {
    const first = this.rows.length;
    this.open = true;
    const answer = await asked(`${this.path}&offset=${first}`);
    if (answer.error) return; // the status tells of it
    if (this.view !== undefined && answer.view !== this.view) await this.load(); // it has changed meanwhile
    else this.put(answer, [...this.rows, ...answer.rows]);
    this.list.children[first]?.querySelector("input")?.focus();
  }

  put(answer, rows) {
    const { view, total } = answer;
    const kept = view === this.view ? this.rows.length : 0; // the same list, longer
    const fresh = rows.slice(kept).map((row) => this.item(row));
    if (kept) this.list.append(...fresh);
    else this.replace(fresh);
    Object.assign(this, { view, total, rows });
    this.title.textContent = `${this.name} (${total.toLocaleString()})`;
    if (rows.length < total) this.offer("Show more");
    else this.more.hidden = true;
    this.element.hidden = !total;
    this.told(answer);
  }

  offer(text) {
    this.more.hidden = false;
    this.more.textContent = text;
    this.more.setAttribute("aria-label", `${text}: ${this.name}`);
  }

  /** A new list in place of the old one; what is chosen and where the reader is stay. */
  replace(items) {
    const chosen = new Set([...this.list.querySelectorAll("input:checked")].map((box) => box.value));
    const here = document.activeElement;
    const within = this.list.contains(here) ? here.closest("li").querySelector("input").value : null;
    this.list.replaceChildren(...items);
    for (const box of this.list.querySelectorAll("input")) {
      box.checked = chosen.has(box.value);
      if (box.value === within) box.focus();
    }
    if (within && !this.list.contains(document.activeElement)) (this.list.querySelector("input") ?? this.title).focus();
  }
}
