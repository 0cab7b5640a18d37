// A client of `faces serve --stdio` that survives a crash of the server. No packages are needed.
//
//   node faces_client.mjs photo.jpg another.jpg
//   node faces_client.mjs --repeat 100 photo.jpg
//
// The environment variable FACES_COMMAND names another command than `faces serve --stdio`.

import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { once } from "node:events";
import { pathToFileURL } from "node:url";

const AT_ONCE = 16; // requests under way; more would only fill the pipe
const ATTEMPTS = 5; // a request that brings the server down every time is given up

/** Runs the server as a child process; restarts it and sends again what was not answered. */
export class FacesClient {
  #waiting = new Map();
  #last = 0;
  #closed = false;
  #command;
  #process;

  constructor(command) {
    this.#command = command;
    this.#start();
  }

  /** Send a request; resolves to its result. The error has the fields `code` and `details`. */
  async request(op, images, fields = {}) {
    while (this.#waiting.size >= AT_ONCE) {
      await Promise.race([...this.#waiting.values()].map((entry) => entry.done));
    }
    const id = ++this.#last;
    const frames = images.map((image) => image.length);
    const header = JSON.stringify({ id, op, frames, ...fields }) + "\n";
    const entry = { message: Buffer.concat([Buffer.from(header), ...images]), attempts: 1 };
    const answer = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    entry.done = answer.catch(() => {}).then(() => {});
    this.#waiting.set(id, entry);
    this.#send(entry.message);
    return answer;
  }

  /** Wait for the answers, then for the end of the server. */
  async close() {
    await Promise.all([...this.#waiting.values()].map((entry) => entry.done));
    this.#closed = true;
    const ended = once(this.#process, "close");
    this.#process.stdin.end();
    await ended;
  }

  #start() {
    const child = spawn(this.#command[0], this.#command.slice(1), {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#process = child;
    child.stdin.on("error", () => {}); // it has died; "close" follows, and everything is sent again
    createInterface({ input: child.stdout, crlfDelay: Infinity }).on("line", (line) => {
      let answer;
      try {
        answer = JSON.parse(line);
      } catch {
        return; // it died while it wrote
      }
      if ("event" in answer) return; // "ready", or the progress of a job
      const entry = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if (answer.error) entry.reject(Object.assign(new Error(answer.error.message), answer.error));
      else entry.resolve(answer.result);
    });
    child.on("close", () => {
      if (!this.#closed) this.#restart();
    });
  }

  #send(message) {
    this.#process.stdin.write(message);
  }

  #restart() {
    console.error("the server has died; starting it again");
    this.#start();
    for (const [id, entry] of this.#waiting) {
      if (entry.attempts === ATTEMPTS) {
        this.#waiting.delete(id);
        entry.reject(new Error("the server dies of this request"));
      } else {
        entry.attempts += 1;
        this.#send(entry.message);
      }
    }
  }
}

async function main(args) {
  let repeat = 1;
  if (args[0] === "--repeat") {
    repeat = Number(args[1]);
    args = args.slice(2);
  }
  const command = (process.env.FACES_COMMAND ?? "faces serve --stdio").split(" ");
  const client = new FacesClient(command);
  const photos = await Promise.all(args.map(async (name) => [name, await readFile(name)]));
  const answers = [];
  for (let round = 0; round < repeat; round++) {
    for (const [name, photo] of photos) {
      const begun = client.request("detect", [photo]);
      answers.push(begun.then((result) => [name, result]));
      await Promise.resolve(); // let it be counted before the next one asks for room
    }
  }
  for (const answer of answers) {
    const [name, result] = await answer;
    for (const face of result.images[0].faces) console.log(name, ...face.box, face.score);
  }
  await client.close();
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(process.argv.slice(2));
