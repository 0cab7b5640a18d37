// The library of `faces index`: who is in thousands of photos, one page after the other.

import { ask, button, element } from "./dialog.js";
import { asked, count, Pages } from "./pages.js";

const $ = (id) => document.getElementById(id);
export class Library {
  constructor() {
    this.shown = false;
    this.status = null;
    this.where = null; // what is shown: [] everybody, [face] somebody, ["search", key] a search
    this.loaded = ""; // of which list
    this.lists = [];
    this.person = null;
    $("library-undo").addEventListener("click", () => this.undo());
    $("library-photo").addEventListener("click", () => $("library-file").click());
    $("library-file").addEventListener("change", () => {
      const files = [...$("library-file").files];
      $("library-file").value = "";
      if (files.length) this.take(files);
    });
    $("library-name").addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.find(), 250);
    });
    $("library-lists").addEventListener("change", () => this.choose());
    $("library-close").addEventListener("click", () => $("library-view").close());
    $("library-view").addEventListener("close", () => $("library-image").removeAttribute("src"));
  }

  /** The server has told how the library is. */
  update(status) {
    this.status = status;
    if (!status) return;
    const { kinds, faces, working, writing, error, undo, view } = status;
    const people = (kinds.named ?? 0) + (kinds.unnamed ?? 0) + (kinds.once ?? 0);
    const says = [
      view ? `${count(faces, "face")} of ${count(people, "person", "people")}.` : "",
      writing ? "More photos are being indexed; they are shown when that has ended." : "",
      working ? (view ? "The faces are being sorted …" : "The library is being read …") : "",
      error ? `This may not be all: ${error}.` : "",
    ].filter(Boolean).join(" ");
    if ($("library-facts").textContent !== says) $("library-facts").textContent = says;
    $("library-undo").hidden = !undo;
    $("library-undo").textContent = undo ? `Undo: ${undo.what}` : "";
  }

  /** @param where what the address names, null when something else is shown */
  show(where) {
    this.shown = where !== null;
    if (!this.shown || !this.status?.view) return;
    const [who, key] = where;
    const place = JSON.stringify([who ?? "", key ?? ""]);
    const moved = place !== this.where;
    if (!moved && this.loaded === this.status.view) return;
    this.loaded = this.status.view;
    if (moved) {
      this.where = place;
      this.build(who, key);
    }
    this.load();
  }

  build(who, key) {
    const text = $("library-name").value.trim();
    $("library-back").hidden = !who;
    $("library-name").hidden = Boolean(who);
    $("library-person").hidden = true;
    $("library-title").textContent = who === "search" ? "Photos with this face" : who ? "" : "Library";
    this.person = null;
    this.whole = !who;
    const photo = (row) => this.photo(row);
    const everybody = (title, kind, options) =>
      new Pages(title, `people?kind=${kind}&text=${encodeURIComponent(kind === "named" ? text : "")}`, (row) => this.someone(row), options);
    if (who === "search") this.lists = [new Pages("Most alike first", `found?key=${encodeURIComponent(key ?? "")}`, photo)];
    else if (who) {
      this.lists = [new Pages("Photos", `photos?face=${encodeURIComponent(who)}`, photo, { told: (answer) => this.told(answer.person) })];
    } else {
      this.lists = [
        everybody("People", "named", { told: (answer) => this.suggest(answer) }),
        ...(text ? [] : [
          everybody("Without a name", "unnamed"),
          everybody("Met once", "once", { open: false }),
          everybody("Ignored", "ignored", { open: false }),
        ]),
      ];
    }
    $("library-lists").replaceChildren(...this.lists.map((one) => one.element));
    this.choose();
  }

  async load() {
    const { kinds } = this.status;
    const totals = [kinds.named, kinds.unnamed, kinds.once, kinds.ignored];
    const lists = this.lists;
    const errors = await Promise.all(lists.map((one, i) => one.load(totals[i])));
    if (lists !== this.lists) return; // something else is shown by now
    const error = errors.find(Boolean);
    const empty = lists.every((one) => one.element.hidden);
    const says = error ?? (empty ? "Nobody is here." : "");
    this.note?.remove();
    if (says) {
      this.note = element("p", { className: "quiet", textContent: says });
      $("library-lists").append(this.note);
    }
    this.choose();
  }

  find() {
    this.where = null;
    this.show([]);
  }

  suggest(answer) {
    $("library-names").replaceChildren(...answer.rows.map((row) => new Option(row.name)));
  }

  // -- what is in the lists

  someone({ face, name, moments, photos }) {
    const called = name ?? "Somebody";
    const says = count(photos, "photo") + (moments === photos ? "" : `, ${count(moments, "time")}`);
    const about = `${called}, ${count(photos, "photo")}`;
    const item = this.tile(face, about);
    const link = element("a", { href: `#library/${face}`, textContent: name ?? "Photos" });
    if (!name) link.setAttribute("aria-label", `Photos of ${about}`);
    item.append(link, element("span", { className: "quiet", textContent: says }));
    if (!name) item.append(button("Name", "", () => this.name([face], item), about));
    return item;
  }

  photo(row) {
    const { face, file, taken, similarity, name } = row;
    const day = taken ? new Date(taken).toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" }) : "";
    const item = this.tile(face, `${file}${day ? `, ${day}` : ""}`);
    const alike = similarity === null ? "" : `${name ?? "no name"}, ${similarity.toFixed(2)} alike`;
    for (const text of [alike, day]) {
      if (text) item.append(element("span", { className: "quiet", textContent: text }));
    }
    item.append(button("Whole photo", "", () => this.look(row), file));
    return item;
  }

  tile(face, about) {
    const item = element("li");
    const label = element("label");
    const box = element("input", { type: "checkbox", value: face });
    box.setAttribute("aria-label", `Choose ${about}`);
    label.append(element("img", { src: `library/face?face=${face}`, alt: "", loading: "lazy", width: 128, height: 128 }), box);
    item.append(label);
    return item;
  }

  look({ face, file, path, taken, seconds, box, size }) {
    const [width, height] = size;
    $("library-view-title").textContent = file;
    $("library-view-facts").textContent = [
      taken ? new Date(taken).toLocaleString() : "",
      seconds === null ? "" : `at ${seconds.toFixed(1)} s`,
      path,
    ].filter(Boolean).join(" · ");
    const [x1, y1, x2, y2] = box;
    const share = (value, of) => `${(100 * value) / of}%`;
    const frame = { left: share(x1, width), top: share(y1, height), width: share(x2 - x1, width), height: share(y2 - y1, height) };
    $("library-box").hidden = true;
    Object.assign($("library-box").style, frame);
    // What stands in place of a photo that is gone is square.
    $("library-image").onload = ({ target }) => {
      const alike = Math.abs(target.naturalWidth / target.naturalHeight - width / height) < 0.02;
      $("library-box").hidden = !alike;
    };
    $("library-image").src = `library/photo?face=${face}`;
    $("library-view").showModal();
  }

  /** Whose photos are shown. */
  told(person) {
    this.person = person;
    const { face, name, ignored } = person;
    $("library-title").textContent = name ?? "Somebody without a name";
    $("library-person").hidden = false;
    const act = (text, kind, does) => button(text, kind, does, name ?? "this person");
    $("library-person").replaceChildren(
      act(name ? "Rename" : "Name", name ? "" : "main", () => this.name([face], null, true)),
      ...(ignored || name ? [] : [act("Ignore", "", () => this.say({ do: "ignore", faces: [face], whole: true }))]),
      act("Not a face", "", () => this.say({ do: "not_a_face", faces: [face], whole: true })),
    );
  }

  // -- what is chosen, and what is said about it

  choose() {
    const boxes = [...$("library-lists").querySelectorAll("input:checked")];
    const faces = boxes.map((box) => box.value);
    const things = this.whole ? ["person", "people"] : ["photo", "photos"];
    $("library-bar").hidden = !faces.length;
    if (!faces.length) return;
    $("library-chosen").textContent = `${count(faces.length, ...things)} chosen`;
    const act = (text, does) => button(text, "", does, "what is chosen");
    const say = (what) => this.say({ faces, whole: this.whole, ...what });
    const who = this.person;
    $("library-actions").replaceChildren(
      act(this.whole ? "Name" : "This is …", () => this.name(faces, null, this.whole)),
      ...(this.whole && faces.length > 1 ? [act("The same person", () => say({ do: "same" }))] : []),
      ...(who ? [act(who.name ? `Not ${who.name}` : "Somebody else", () => say({ do: "not", who: who.face }))] : []),
      ...(this.whole ? [act("Ignore", () => say({ do: "ignore" }))] : []),
      act("Not a face", () => say({ do: "not_a_face" })),
      act("None", () => this.none()),
    );
  }

  none() {
    for (const box of $("library-lists").querySelectorAll("input:checked")) box.checked = false;
    this.choose();
    $("library-title").focus();
  }

  name(faces, item, whole = true) {
    ask({
      title: "Who is this?",
      text: whole && faces.length > 1 ? "All that are chosen get this name." : "",
      name: (item ? null : whole && this.person?.name) || "",
      list: "library-names",
      buttons: [{ text: "Save", kind: "main", act: (name) => this.said({ do: "name", faces, whole, name }) }],
    });
  }

  async say(what) {
    const error = await this.said(what);
    if (error) ask({ title: "Not done", text: error, buttons: [] });
  }

  /** Have it kept; gives an error, or nothing. The list follows when the server tells of it. */
  async said(what) {
    const view = this.lists.find((one) => one.view !== undefined)?.view;
    const before = this.status.view;
    if (this.person) this.stay(what);
    const body = JSON.stringify({ view, ...what });
    const { error } = await asked("decide", { method: "POST", body });
    if (error) {
      this.loaded = ""; // it may have changed
      this.show(JSON.parse(this.where).map((part) => part || undefined));
      return error;
    }
    if (this.status.view === before) {
      for (const box of $("library-lists").querySelectorAll("input")) {
        if (what.faces.includes(box.value)) box.closest("li").classList.add("waits");
      }
    }
    this.none();
    return undefined;
  }

  /** A person's page is found by a face of theirs: by another one, where that is theirs no more. */
  stay({ do: act, faces, whole }) {
    const [here] = JSON.parse(this.where);
    if (whole ? act !== "not_a_face" : !faces.includes(here)) return;
    const other = whole ? null : this.lists[0].rows.find((row) => !faces.includes(row.face));
    location.replace(other ? `#library/${other.face}` : "#library");
  }

  async undo() {
    const act = this.status?.undo;
    if (!act) return;
    const { error } = await asked("undo", { method: "POST", body: JSON.stringify({ number: act.number }) });
    if (error) ask({ title: "Not undone", text: error, buttons: [] });
  }

  // -- searching with a photo

  /** Search with a photo that was dropped here; whether it was. */
  take(files) {
    if (!this.shown) return false;
    this.search(files[0]);
    return true;
  }

  async search(file) {
    $("library-photo").disabled = true;
    $("library-photo").textContent = "Searching …";
    const { error, key, faces } = await asked("search", { method: "POST", body: file });
    $("library-photo").disabled = false;
    $("library-photo").textContent = "Search with a photo";
    if (error) {
      ask({ title: "Not searched", text: error, buttons: [] });
      return;
    }
    location.hash = `#library/search/${key}`;
    if (faces > 1) ask({ title: "The largest face was searched for", text: `There are ${faces} faces in this photo.`, buttons: [] });
  }
}
