// Photos that are dropped on the page, or chosen: each is looked at, and those that pass are named.

import { ask, element } from "./dialog.js";

const $ = (id) => document.getElementById(id);
const MOST = 100;

export class Photos {
  /**
   * @param command has something done and gives the reply
   * @param elsewhere(files) whether dropped files are meant for something else, which takes them
   */
  constructor(command, elsewhere) {
    Object.assign(this, { command, elsewhere });
    this.photos = []; // {id, item}
    this.pending = 0;
    addEventListener("dragover", (event) => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    });
    addEventListener("drop", (event) => {
      const files = [...(event.dataTransfer?.files ?? [])];
      if (!files.length) return;
      event.preventDefault();
      if (!this.elsewhere?.(files)) this.take(files);
    });
    $("photos-add").addEventListener("click", () => $("photos-file").click());
    $("photos-file").addEventListener("change", () => {
      this.take([...$("photos-file").files]);
      $("photos-file").value = "";
    });
    $("photos-cancel").addEventListener("click", () => $("photos").close());
    $("photos").addEventListener("close", () => this.clear());
    $("photos-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.enroll();
    });
  }

  /** @param name whose they may be: the person whose page is open */
  suggest(name) {
    this.suggested = name;
  }

  clear() {
    for (const image of $("photos-list").querySelectorAll("img")) URL.revokeObjectURL(image.src);
    $("photos-list").replaceChildren();
    this.photos = [];
  }

  async take(files) {
    if (!$("photos").open) {
      $("photos-name").value = this.suggested ?? "";
      $("photos-error").textContent = "";
      $("photos").showModal();
    }
    const room = MOST - this.photos.length;
    if (files.length > room) $("photos-error").textContent = `At most ${MOST} photos at a time.`;
    for (const photo of files.slice(0, Math.max(0, room)).map((file) => this.add(file))) await this.look(photo);
  }

  add(file) {
    const item = element("li", { className: "photo" });
    const image = element("img", { alt: "", src: URL.createObjectURL(file) });
    image.addEventListener("error", () => image.remove());
    const says = element("p", { className: "quiet", textContent: "waiting …" });
    const text = element("div");
    text.append(element("p", { className: "file", textContent: file.name }), says);
    item.append(image, text);
    $("photos-list").append(item);
    const photo = { file, item, says, id: null };
    this.photos.push(photo);
    return photo;
  }

  async look(photo) {
    photo.says.textContent = "being looked at …";
    this.pending += 1;
    this.ready();
    try {
      const answer = await fetch(`photo?file=${encodeURIComponent(photo.file.name)}`, { method: "POST", body: photo.file });
      const { id, reasons } = await answer.json();
      photo.id = id;
      this.tell(photo, id ? "fine" : "refused", id ? "can be used" : reasons.join("; "));
    } catch {
      this.tell(photo, "refused", "it could not be sent; is there a connection?");
    }
    this.pending -= 1;
    this.ready();
  }

  tell(photo, state, text) {
    photo.item.dataset.state = state;
    photo.says.textContent = text;
  }

  ready() {
    const usable = this.photos.filter((photo) => photo.id).length;
    $("photos-save").disabled = !usable || this.pending > 0;
    $("photos-save").textContent = usable ? `Add ${usable} ${usable === 1 ? "photo" : "photos"}` : "Add";
    $("photos-count").textContent = this.pending ? "Looking at the photos …" : `${usable} of ${this.photos.length} can be used.`;
  }

  async enroll(sure = false) {
    const name = $("photos-name").value.trim();
    if (!name) {
      $("photos-error").textContent = "A name is needed.";
      $("photos-name").focus();
      return undefined;
    }
    const photos = this.photos.filter((photo) => photo.id);
    const reply = await this.command({ type: "enroll", name, photos: photos.map((photo) => photo.id), sure });
    if (reply.known) {
      ask({
        title: `Is this ${reply.known.name}?`,
        text: `${reply.error}.`,
        buttons: [{ text: `It is ${name} all the same`, act: () => this.enroll(true) }],
      });
      return undefined;
    }
    if (!reply.ok) {
      $("photos-error").textContent = reply.error;
      return reply.error;
    }
    const refused = Object.entries(reply.photos ?? {});
    for (const photo of photos) {
      const why = reply.photos?.[photo.id];
      photo.id = why && refused.length === photos.length ? photo.id : null;
      this.tell(photo, why ? "refused" : "done", why ?? "added");
    }
    if (!refused.length) $("photos").close();
    else $("photos-error").textContent = `${photos.length - refused.length} added, ${refused.length} not: see each photo.`;
    this.ready();
    return undefined;
  }
}
