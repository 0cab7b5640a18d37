// Several cameras: a tile each, with its name, and the zones drawn on it.

import { Picture } from "./picture.js";
import { Zones } from "./zones.js";

export class Tiles {
  /**
   * @param box where the tiles are put; @param stage the one picture that they take the place of
   * @param chosen as for `Picture`; @param ask has something done, gives the reply
   */
  constructor(box, stage, chosen, ask) {
    Object.assign(this, { box, stage, chosen, ask });
    this.tiles = new Map(); // camera -> {figure, picture, zones, status, speed}
  }

  /** The picture of a camera; nothing where there is one camera only. */
  picture(camera) {
    return camera === undefined ? undefined : this.tile(camera).picture;
  }

  set taught(track) {
    for (const { picture } of this.tiles.values()) picture.taught = track;
  }

  /** What the server says of each camera, in the order they were given; nothing where there is one only. */
  update(cameras) {
    for (const [place, told] of (cameras ?? []).entries()) {
      const { figure, status, speed, zones } = this.tile(told.name);
      // Pictures come in any order, and before this.
      const there = this.box.children[place];
      if (there !== figure) this.box.insertBefore(figure, there);
      status.hidden = !told.status;
      if (status.textContent !== (told.status ?? "")) status.textContent = told.status ?? "";
      speed.textContent = `${told.fps.toFixed(0)} frames/s · ${told.looks.toFixed(1)} detections/s`;
      zones.update(told);
    }
  }

  tile(camera) {
    if (!this.tiles.has(camera)) this.tiles.set(camera, this.make(camera));
    return this.tiles.get(camera);
  }

  make(camera) {
    this.box.hidden = false;
    this.stage.hidden = true;
    const element = (kind, parent, properties = {}) => {
      const made = Object.assign(document.createElement(kind), properties);
      parent.append(made);
      return made;
    };
    const figure = element("figure", this.box, { className: "tile" });
    figure.dataset.camera = camera;
    const stage = element("div", figure, { className: "stage" });
    const canvas = element("canvas", stage, { role: "img" });
    canvas.setAttribute("aria-label", `The picture of ${camera}`);
    const faces = element("div", stage, { className: "faces", role: "group" });
    faces.setAttribute("aria-label", `Faces in the picture of ${camera}`);
    const status = element("p", stage, { className: "status", role: "status", hidden: true });
    const caption = element("figcaption", figure);
    element("strong", caption, { textContent: camera });
    const speed = element("span", caption, { className: "quiet" });
    const picture = new Picture(stage, canvas, faces, this.chosen);
    const zones = new Zones(stage, figure, caption, camera, this.ask);
    return { figure, picture, zones, status, speed };
  }
}
