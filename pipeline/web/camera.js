// This device's camera: one frame is on its way at a time, and shown when its faces are known.

const WIDEST = 640; // pixels of a frame that is sent
const QUALITY = 0.85;
const PATIENCE = 10000; // milliseconds until a frame counts as lost

export class OwnCamera {
  /** @param send takes bytes; @param show takes (canvas, header, milliseconds) */
  constructor(send, show) {
    Object.assign(this, { send, show });
    this.video = document.createElement("video");
    this.video.muted = this.video.playsInline = true;
    this.grab = document.createElement("canvas");
    this.number = 0;
    this.stream = null;
  }

  get on() {
    return this.stream !== null;
  }

  /** Ask for the camera. Throws an Error with a text for people. */
  async start(ended) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("Browsers give a camera only to pages with https, or of this very machine.");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: false,
        video: { width: { ideal: WIDEST }, height: { ideal: 480 }, facingMode: "user" },
      });
    } catch (error) {
      const why = {
        NotAllowedError: "The browser was not allowed to use the camera.",
        NotFoundError: "This device has no camera.",
        NotReadableError: "Another program uses the camera.",
      };
      throw new Error(why[error.name] ?? `The camera cannot be used: ${error.message}`);
    }
    this.stream.getVideoTracks()[0].addEventListener("ended", ended);
    this.video.srcObject = this.stream;
    await this.video.play();
    this.next();
  }

  stop() {
    clearTimeout(this.timer);
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = this.video.srcObject = null;
  }

  /** Send the next frame as soon as there is one. */
  next() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.on && this.next(), PATIENCE);
    const turn = ++this.number; // answers to older frames are too late from here on
    const go = () => this.on && turn === this.number && this.grabAndSend(turn);
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(go);
    else requestAnimationFrame(go);
  }

  async grabAndSend(number) {
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth) return;
    const scale = Math.min(1, WIDEST / Math.max(videoWidth, videoHeight));
    const width = Math.round(videoWidth * scale), height = Math.round(videoHeight * scale);
    const grab = document.createElement("canvas");
    Object.assign(grab, { width, height });
    grab.getContext("2d").drawImage(this.video, 0, 0, width, height);
    const since = performance.now();
    const blob = await new Promise((resolve) => grab.toBlob(resolve, "image/jpeg", QUALITY));
    if (!blob || !this.on || number !== this.number) return;
    const bytes = new Uint8Array(4 + blob.size);
    new DataView(bytes.buffer).setUint32(0, number);
    bytes.set(new Uint8Array(await blob.arrayBuffer()), 4);
    Object.assign(this, { grab, since });
    this.send(bytes);
  }

  /** The faces of the frame that was sent. */
  answer(header) {
    if (!this.on || header.number !== this.number) return;
    this.show(this.grab, header, performance.now() - this.since);
    this.next();
  }
}
