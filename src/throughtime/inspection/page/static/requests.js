/** The questions that the page asks: of the server, or of the answers that the page carries. */

/** A sentence for the user. */
export class LensError extends Error {}

/** The page of `throughtime inspect --serve`: each question is a POST request. */
class Server {
  isOffline = false;

  /** Answers a question of the docstring of throughtime.inspection.page.
   *
   * Throws a LensError with the server's sentence, or one that says that nothing answers.
   */
  async ask(name, request) {
    let response;
    let answer;
    try {
      response = await fetch(`./api/${name}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(request),
      });
      answer = await response.json();
    } catch {
      throw new LensError(
        "The program that serves this page does not answer. Is `throughtime inspect` still running? " +
          "Your text is still here; change it to ask again.",
      );
    }
    if (!response.ok)
      throw new LensError(answer.error ?? `The server answered ${response.status}.`);
    return answer;
  }

  has() {
    return true;
  }

  inputs() {
    return null;
  }
}

/** The page of `throughtime inspect --html`: it carries its answers. */
class Embedded {
  isOffline = true;

  /** `answers`: [{name, request, answer}]. */
  constructor(answers) {
    this.answers = answers;
  }

  async ask(name, request) {
    const entry = this.#entry(name, request);
    if (!entry)
      throw new LensError("This page works without a program, and holds no answer to this.");
    return entry.answer;
  }

  /** Whether the page has the answer to this question, or to any question of this name. */
  has(name, request = null) {
    return request
      ? Boolean(this.#entry(name, request))
      : this.answers.some((a) => a.name === name);
  }

  /** The inputs of a run, {text} or {example}, whose values the page has; null if it can ask. */
  inputs(run) {
    return this.answers
      .filter(({ name, request }) => name === "read" && request.run === run)
      .map(({ request: { text, example } }) => (text === undefined ? { example } : { text }));
  }

  #entry(name, request) {
    // A stored answer to `read` holds all values from the first step on.
    const fields = (all) => {
      if (name !== "read") return all;
      const { values, known, version, ...others } = all;
      return others;
    };
    const asked = canonical(fields(request));
    return this.answers.find((a) => a.name === name && canonical(fields(a.request)) === asked);
  }
}

/** JSON with the keys of objects in order. */
function canonical(value) {
  return JSON.stringify(value, (_, part) =>
    part && typeof part === "object" && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

/** What answers the page's questions. */
export function connect() {
  const answers = document.getElementById("answers");
  return answers ? new Embedded(JSON.parse(answers.textContent)) : new Server();
}

/** The float32 numbers of *Values*: base64, little-endian as all machines with a browser are. */
export function numbersOf(values) {
  const bytes = atob(values.data);
  const buffer = new Uint8Array(bytes.length);
  for (let index = 0; index < bytes.length; index += 1) buffer[index] = bytes.charCodeAt(index);
  return new Float32Array(buffer.buffer);
}
