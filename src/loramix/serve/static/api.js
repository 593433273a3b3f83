// The server, as the page sees it: JSON calls, streams, and errors in words.

const KEY = "loramix-key";

/**
 * What went wrong, as a sentence for a person; `status` is 0 where no answer came, `code` is the
 * server's name for it, `wait` the seconds after which another try may do.
 */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, wait = null } = {}) {
    super(message);
    Object.assign(this, { status, code, wait });
  }
}

let askForKey = async () => null; // set by app.js: shows the dialog, gives the key or null
export function onKeyNeeded(handler) { askForKey = handler; }

export const key = {
  /** Whether it can be one: `fetch` throws on a header beyond Latin-1, and no server has such. */
  fits: (value) => /^[\x21-\x7e]+$/.test(value),
  get: () => {
    let kept = null;
    try { kept = sessionStorage.getItem(KEY); } catch { /* private mode */ }
    if (kept === null || key.fits(kept)) return kept;
    key.forget();
    return null;
  },
  set: (value) => { try { sessionStorage.setItem(KEY, value); } catch { /* private mode */ } },
  forget: () => { try { sessionStorage.removeItem(KEY); } catch { /* private mode */ } },
};

/** Sends a request; asks for the API key where the server wants one. Gives the Response. */
export async function send(path, { json, form, method, signal } = {}) {
  for (;;) {
    const used = key.get();
    const headers = used ? { authorization: `Bearer ${used}` } : {};
    if (json !== undefined) headers["content-type"] = "application/json";
    let response;
    try {
      response = await fetch(path, {
        method: method ?? (json === undefined && !form ? "GET" : "POST"),
        headers,
        body: json === undefined ? form : JSON.stringify(json),
        signal,
      });
    } catch (fault) {
      if (fault.name === "AbortError") throw fault;
      throw new ApiError("The server cannot be reached. Is it still running?");
    }
    if (response.status === 401) {
      // Another call may have got the key while this one was on its way.
      if (key.get() !== used || (await askForKey(used !== null))) continue;
    }
    if (!response.ok) throw await inWords(response);
    return response;
  }
}

export async function json(path, options) {
  const response = await send(path, options);
  return response.json();
}

async function inWords(response) {
  let body = null;
  try { body = await response.json(); } catch { /* no JSON: the status says enough */ }
  const { status } = response;
  const told = body?.error?.message;
  const code = body?.error?.code ?? null;
  const wait = Number(response.headers.get("retry-after")) || null;
  if (status === 429) {
    // what a client may do is worth reading; that a queue is full is "busy" to a person
    const why = code && code !== "queue_full" && told ? told : "The server is busy.";
    const when = wait ? `Try again in ${wait} s.` : "Try again in a moment.";
    return new ApiError(`${why} ${when}`, { status, code, wait });
  }
  if (code === "no_gate") { // the server's advice is for programs
    const why = "This library has no gate that could choose a mix. Choose one by hand.";
    return new ApiError(why, { status, code });
  }
  if (status === 401) return new ApiError("The server wants an API key.", { status, code });
  return new ApiError(told ?? `The server answered with status ${status}.`, { status, code });
}

/**
 * A chat completion, piece by piece.
 * @param body what `/v1/chat/completions` takes, without `stream`
 * @param onText called with each piece of text
 * @param onMix called with the mix, as an object of weights, before the first piece
 * @returns {Promise<{routing: object|null, usage: object|null, finish: string|null}>}
 */
export async function stream(body, { onText, onMix, signal }) {
  const wish = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await send("v1/chat/completions", { json: wish, signal });
  const named = response.headers.get("x-loramix-mix");
  if (named) onMix(weights(named));
  const end = { routing: null, usage: null, finish: null };
  let done = false;
  for await (const data of events(response.body)) {
    if (data === "[DONE]") { done = true; break; }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message, { code: chunk.error.code });
    const choice = chunk.choices?.[0];
    if (choice?.delta?.content) onText(choice.delta.content);
    if (choice?.finish_reason) end.finish = choice.finish_reason;
    end.routing = chunk.loramix ?? end.routing;
    end.usage = chunk.usage ?? end.usage;
  }
  if (!done) throw new ApiError(BROKEN);
  return end;
}

const BROKEN = "The connection broke off before the answer’s end. Is the server still running?";

/** `code=0.5,math=0.5` as an object of weights; `base` is the empty one. */
function weights(recipe) {
  if (recipe === "base") return {};
  return Object.fromEntries(recipe.split(",").map((part) => {
    const place = part.lastIndexOf("=");
    return [part.slice(0, place).trim(), Number(part.slice(place + 1))];
  }));
}

/** The data of server-sent events: lines that start with `data:`, events parted by empty lines. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((fault) => {
        throw fault.name === "AbortError" ? fault : new ApiError(BROKEN);
      });
      if (done) return;
      const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n").filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
