// The WebSocket: comes back by itself, gives each command its reply.

const FIRST_PAUSE = 0.5, LONGEST_PAUSE = 10; // seconds

export class Connection {
  /** @param on {text(message), frame(header, jpeg), state(state, text)} */
  constructor(on) {
    this.on = on;
    this.waiting = new Map(); // id of a command -> what to do with its reply
    this.last = 0;
    this.pause = FIRST_PAUSE;
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  open() {
    clearTimeout(this.timer);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/live`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.pause = FIRST_PAUSE;
      this.on.state("good", "connected");
    };
    socket.onmessage = (event) => {
      if (typeof event.data === "string") this.take(JSON.parse(event.data));
      else this.unpack(event.data);
    };
    socket.onclose = (event) => this.closed(event);
  }

  get usable() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  tell(message) {
    if (this.usable) this.socket.send(JSON.stringify(message));
  }

  send(bytes) {
    if (this.usable) this.socket.send(bytes);
  }

  /** Have something done; gives the reply, also when there is no connection. */
  ask(command) {
    if (!this.usable) return Promise.resolve({ ok: false, error: "There is no connection." });
    const id = ++this.last;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.tell({ ...command, id });
    });
  }

  take(message) {
    if (message.type !== "reply") {
      this.on.text(message);
      return;
    }
    this.waiting.get(message.id)?.(message);
    this.waiting.delete(message.id);
  }

  unpack(buffer) {
    const length = new DataView(buffer).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    this.on.frame(header, new Uint8Array(buffer, 4 + length));
  }

  async closed(event) {
    for (const resolve of this.waiting.values()) {
      resolve({ ok: false, error: "The connection was lost; it is not known whether this was done." });
    }
    this.waiting.clear();
    const pause = this.pause * (0.75 + Math.random() / 2); // not all viewers at the same moment
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
    this.on.state("wait", event.reason || "no connection; trying again …");
    this.timer = setTimeout(() => this.open(), pause * 1000);
    try {
      const answer = await fetch("alive");
      if (answer.status === 401) this.on.state("bad", (await answer.text()).trim());
    } catch {
      // The server is away, as the timer expects.
    }
  }

  retryNow() {
    if (this.socket?.readyState === WebSocket.CLOSED) {
      this.pause = FIRST_PAUSE;
      this.open();
    }
  }
}
