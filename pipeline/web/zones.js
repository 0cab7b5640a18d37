// The zones of one camera: shown over its picture, drawn with the mouse, a finger or keys.

const SVG = document.getElementById("shape").namespaceURI;
const NEAR = 0.03; // of the picture: a click so near to the first corner closes the zone
const STEP = 0.02, SMALL = 0.005; // of the picture: an arrow key, and with Shift

const rounded = (value) => Math.round(Math.min(1, Math.max(0, value)) * 1000) / 1000;

export class Zones {
  constructor(stage, figure, caption, camera, ask) {
    Object.assign(this, { camera, ask, zones: [], open: [], editing: false, at: [0.5, 0.5] });
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", "0 0 1 1");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("class", "zones");
    this.svg.setAttribute("aria-hidden", "true");
    stage.append(this.svg);
    this.button = this.make("button", caption, { type: "button", textContent: "Zones" });
    this.button.setAttribute("aria-expanded", "false");
    this.button.setAttribute("aria-label", `Zones of ${camera}`);
    this.button.addEventListener("click", () => (this.editing ? this.end() : this.begin()));
    this.form = this.make("form", figure, { className: "zone-form", hidden: true });
    this.make("p", this.form, {
      className: "quiet",
      textContent:
        "Only faces in a zone count. Click corners, and the first one again to close a zone. " +
        "With keys: arrows move the cross, Enter sets a corner, c closes, Backspace takes one back.",
    });
    const label = this.make("label", this.form, { textContent: "Smallest face, pixels " });
    this.smallest = this.make("input", label, { type: "number", min: 1, max: 2000, required: true });
    const row = this.make("div", this.form, { className: "row start" });
    this.make("button", row, { type: "submit", className: "main", textContent: "Save" });
    const clear = this.make("button", row, { type: "button", textContent: "No zones" });
    clear.addEventListener("click", () => this.change([], []));
    const cancel = this.make("button", row, { type: "button", textContent: "Cancel" });
    cancel.addEventListener("click", () => this.end());
    this.error = this.make("p", this.form, { role: "alert", className: "zone-error" });
    this.form.addEventListener("submit", (event) => this.save(event));
    this.svg.addEventListener("click", (event) => this.click(event));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  make(kind, parent, properties) {
    const made = Object.assign(document.createElement(kind), properties);
    parent.append(made);
    return made;
  }

  /** What the server says; what is being drawn stays. */
  update({ zones, min_face }) {
    if (this.editing) return;
    if (JSON.stringify(zones) !== JSON.stringify(this.zones)) this.change(zones, []);
    this.smallest.value = min_face;
  }

  begin() {
    this.kept = this.zones;
    this.show(true);
    this.svg.focus();
  }

  end(zones = this.kept) {
    this.show(false);
    this.change(zones, []);
    this.button.focus();
  }

  show(editing) {
    this.editing = editing;
    this.form.hidden = !editing;
    this.error.textContent = "";
    this.button.setAttribute("aria-expanded", String(editing));
    this.svg.classList.toggle("editing", editing);
    if (editing) {
      this.svg.setAttribute("tabindex", "0");
      this.svg.setAttribute("role", "application");
      this.svg.setAttribute("aria-label", `Draw zones of ${this.camera}`);
      this.svg.removeAttribute("aria-hidden");
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) this.svg.removeAttribute(name);
      this.svg.setAttribute("aria-hidden", "true");
    }
    this.paint();
  }

  click(event) {
    if (!this.editing) return;
    const box = this.svg.getBoundingClientRect();
    this.at = [
      rounded((event.clientX - box.left) / box.width),
      rounded((event.clientY - box.top) / box.height),
    ];
    const [x, y] = this.open[0] ?? [9, 9];
    if (this.open.length > 2 && Math.hypot(this.at[0] - x, this.at[1] - y) < NEAR) this.close();
    else this.change(this.zones, [...this.open, this.at]);
  }

  key(event) {
    if (!this.editing) return;
    const step = event.shiftKey ? SMALL : STEP;
    const moves = {
      ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step],
    };
    if (moves[event.key]) {
      this.at = this.at.map((value, i) => rounded(value + moves[event.key][i]));
      this.paint();
    } else if (event.key === "Enter" || event.key === " ") {
      this.change(this.zones, [...this.open, this.at]);
    } else if (event.key === "c") this.close();
    else if (event.key === "Backspace") this.change(this.zones, this.open.slice(0, -1));
    else if (event.key === "Escape") this.end();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  close() {
    if (this.open.length > 2) this.change([...this.zones, this.open], []);
  }

  change(zones, open) {
    Object.assign(this, { zones, open });
    this.paint();
  }

  async save(event) {
    event.preventDefault();
    this.close();
    const { camera, zones } = this;
    const reply = await this.ask({ type: "zones", camera, zones, min_face: Number(this.smallest.value) });
    if (reply.ok) this.end(zones);
    else this.error.textContent = reply.error;
  }

  paint() {
    const shape = (kind, points, name) => {
      const made = document.createElementNS(SVG, kind);
      made.setAttribute("points", points.map((corner) => corner.join(",")).join(" "));
      made.setAttribute("class", name);
      return made;
    };
    const [x, y] = this.at;
    const cross = [[[x - 0.02, y], [x + 0.02, y]], [[x, y - 0.03], [x, y + 0.03]]];
    this.svg.replaceChildren(
      ...this.zones.map((zone) => shape("polygon", zone, "zone")),
      ...(this.open.length ? [shape("polyline", [...this.open, this.at], "open")] : []),
      ...(this.editing ? cross.map((line) => shape("polyline", line, "cross")) : []),
    );
  }
}
