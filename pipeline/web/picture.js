// The canvas with boxes and names, and a button over each face for fingers, keys and screen readers.

const KNOWN = "#4fd67f", UNKNOWN = "#ffb02e", NEW = "#c3cad5", TAUGHT = "#6aa8ff";
const SMALLEST = 36; // CSS pixels of a button, however small the face is

export class Picture {
  /** @param chosen called with a face that was clicked, and a picture of it on a canvas */
  constructor(stage, canvas, faces, chosen) {
    Object.assign(this, { stage, canvas, faces, chosen });
    this.buttons = new Map(); // track -> button
    this.taught = null; // the track that is being taught
    this.last = null; // {image, header}
    new ResizeObserver(() => this.last && this.paint()).observe(stage);
  }

  /** Show an image (bitmap or canvas) and the faces that are on this very image. */
  show(image, header) {
    const before = this.last?.image;
    this.last = { image, header };
    this.paint();
    if (before !== image) before?.close?.();
  }

  clear() {
    this.last?.image.close?.();
    this.last = null;
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.place([], 1);
  }

  paint() {
    const { image, header } = this.last;
    const ratio = header.width / header.height;
    this.stage.style.aspectRatio = `${header.width} / ${header.height}`;
    this.stage.style.maxWidth = `calc(var(--tallest) * ${ratio})`;
    const dots = devicePixelRatio || 1;
    const width = Math.round(this.stage.clientWidth * dots);
    const height = Math.round(this.stage.clientHeight * dots);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      Object.assign(this.canvas, { width, height });
    }
    const context = this.canvas.getContext("2d");
    context.drawImage(image, 0, 0, width, height);
    const scale = width / header.width;
    for (const face of header.faces) this.box(context, face, scale, dots);
    this.place(header.faces, this.stage.clientWidth / header.width);
  }

  box(context, face, scale, dots) {
    const [x1, y1, x2, y2] = face.box.map((v) => v * scale);
    const color = this.color(face);
    context.lineWidth = 2.5 * dots;
    context.strokeStyle = color;
    context.setLineDash(face.agreement === null ? [6 * dots, 5 * dots] : []);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.font = `600 ${14 * dots}px system-ui, sans-serif`;
    const text = fitting(context, label(face), context.canvas.width - 12 * dots);
    const width = context.measureText(text).width + 12 * dots, height = 22 * dots;
    const x = Math.max(0, Math.min(x1 - dots, context.canvas.width - width));
    const y = y1 >= height ? y1 - height : Math.min(y2, context.canvas.height - height);
    context.fillStyle = color;
    context.fillRect(x, y, width, height);
    context.fillStyle = "#101418";
    context.textBaseline = "middle";
    context.fillText(text, x + 6 * dots, y + height / 2 + dots);
  }

  color(face) {
    if (face.track === this.taught) return TAUGHT;
    if (face.name) return KNOWN;
    return face.agreement === null ? NEW : UNKNOWN;
  }

  /** Put a button over each face; one button stays with one track, so that focus stays, too. */
  place(faces, scale) {
    const here = new Set();
    for (const face of faces) {
      if (face.track === null) continue;
      here.add(face.track);
      let button = this.buttons.get(face.track);
      if (!button) {
        button = document.createElement("button");
        button.type = "button";
        button.dataset.track = face.track;
        button.addEventListener("click", () => this.choose(face.track));
        this.buttons.set(face.track, button);
        this.faces.append(button);
      }
      const says = face.name ? `${face.name}: correct or teach more` : "Unknown face: say who it is";
      if (button.textContent !== says) button.textContent = says;
      const [x1, y1, x2, y2] = face.box.map((v) => v * scale);
      const more = Math.max(0, (SMALLEST - Math.min(x2 - x1, y2 - y1)) / 2);
      button.style.transform = `translate(${x1 - more}px, ${y1 - more}px)`;
      button.style.width = `${x2 - x1 + 2 * more}px`;
      button.style.height = `${y2 - y1 + 2 * more}px`;
    }
    for (const [track, button] of this.buttons) {
      if (!here.has(track)) {
        button.remove();
        this.buttons.delete(track);
      }
    }
  }

  choose(track) {
    const face = this.last?.header.faces.find((one) => one.track === track);
    if (!face) return;
    const kept = Object.assign(document.createElement("canvas"), { width: 96, height: 96 });
    this.portrait(kept, face); // now: the next frame shows the face elsewhere
    this.chosen(face, (canvas) => canvas.getContext("2d").drawImage(kept, 0, 0));
  }

  /** Draw a face with a little around it onto a square canvas. */
  portrait(canvas, face) {
    const { image, header } = this.last;
    const [x1, y1, x2, y2] = face.box;
    const side = 1.3 * Math.max(x2 - x1, y2 - y1);
    const zoom = image.width / header.width;
    const left = (x1 + x2 - side) / 2, top = (y1 + y2 - side) / 2;
    const context = canvas.getContext("2d");
    context.fillStyle = "#0b0d10";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(
      image, left * zoom, top * zoom, side * zoom, side * zoom, 0, 0, canvas.width, canvas.height,
    );
  }
}

/** As much of a text as is at most so wide. */
function fitting(context, text, widest) {
  if (context.measureText(text).width <= widest) return text;
  const letters = [...text];
  while (letters.length && context.measureText(`${letters.join("")}…`).width > widest) letters.pop();
  return `${letters.join("")}…`;
}

function label(face) {
  if (face.name) return face.name;
  return face.agreement === null ? "…" : "unknown";
}
