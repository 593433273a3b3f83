// One answer on the page, in the chat and in the comparison: its text, its mix, its scores.

import { json, stream } from "./api.js";
import { copy, h, mixBar, recipe, say, scoreBars, seconds, whyBox, writeText } from "./draw.js";
import { noteGate } from "./state.js";

/**
 * A card that an answer streams into.
 * @param title what stands above the text, or null
 * @param actions more buttons for when the answer is there
 * @param retry what "try again" does where there is none
 */
export class AnswerCard {
  constructor({ title = null, actions = [], retry = null } = {}) {
    this.text = "";
    this.routing = null;
    this.body = h("div", { class: "text waiting" });
    this.facts = h("div", { class: "facts" });
    this.foot = h("div", { class: "actions" });
    this.fault = null; // why the last run failed, an Error
    this.end = null; // what the last run said at its end
    this.leftOut = false; // whether the context had no room for all earlier turns
    this.element = h("section", { class: "answer", "aria-label": title ?? "Answer" },
      title && h("h3", {}, title), h("div", { class: "said" }, this.body, this.foot), this.facts);
    this.actions = actions;
    this.retry = retry;
  }

  /**
   * Streams an answer in. Errors end up on the card, in words. A run that another one has
   * overtaken writes nothing more.
   * @returns {Promise<boolean>} whether it was answered to its end
   */
  async run(request, signal) {
    this.request = request;
    this.signal = signal;
    this.text = "";
    this.routing = this.fault = this.end = null;
    this.element.classList.remove("failed");
    this.element.setAttribute("aria-busy", "true");
    this.body.className = "text waiting";
    this.body.replaceChildren();
    this.facts.replaceChildren();
    this.foot.replaceChildren();
    this.element.querySelector(":scope > .whybox")?.remove();
    let drawn = 0;
    const overtaken = () => this.signal !== signal;
    const paintText = () => {
      drawn = 0;
      if (!overtaken()) writeText(this.body, this.text);
    };
    const started = performance.now();
    const elapsed = () => (performance.now() - started) / 1000;
    const onText = (piece) => {
      if (overtaken()) return;
      this.text += piece;
      this.body.classList.remove("waiting");
      drawn ||= requestAnimationFrame(paintText);
    };
    const onMix = (mix) => {
      if (overtaken()) return;
      this.routing = { mix };
      this.facts.replaceChildren(mixBar(mix));
    };
    let whole = false;
    try {
      const end = await stream(request, { onText, onMix, signal });
      if (overtaken()) return false;
      this.end = end;
      this.routing = end.routing ?? this.routing;
      this.#tell(end, elapsed());
      whole = true;
    } catch (fault) {
      if (overtaken()) return false;
      this.fault = fault;
      if (fault.name === "AbortError") {
        const when = this.text ? `Stopped after ${seconds(elapsed())}.` : "Stopped.";
        this.facts.append(h("p", { class: "note" }, when));
        say("Stopped.");
      } else {
        this.#fail(fault.message ?? String(fault));
        noteGate(fault);
      }
    }
    cancelAnimationFrame(drawn);
    if (this.text) writeText(this.body, this.text);
    this.body.classList.remove("waiting");
    if (whole && !this.text.trim()) {
      this.body.append(h("span", { class: "note" }, "(an empty answer)"));
    }
    this.element.removeAttribute("aria-busy");
    this.#offer(whole);
    return whole;
  }

  /** Whether the last run met the end of the context, before its prompt's or its answer's end. */
  filledContext(maxTokens) {
    if (this.fault) return this.fault.code === "context_length_exceeded";
    return this.end?.finish === "length" && this.end.usage?.completion_tokens < maxTokens;
  }

  #tell(end, elapsed) {
    const routing = end.routing;
    if (!routing) return;
    this.facts.replaceChildren(mixBar(routing.mix));
    if (routing.scores && Object.keys(routing.scores).length) {
      const by = routing.router === "gate" || !routing.router ? "The gate’s scores"
        : `Scores of ${routing.router}`;
      this.facts.append(h("h4", {}, by), scoreBars(routing.scores));
    }
    const took = routing.seconds ?? {};
    const facts = [
      routing.policy && Object.keys(routing.scores ?? {}).length ? routing.policy : null,
      end.usage ? `${end.usage.completion_tokens} tokens` : null,
      took.first_token != null ? `first in ${seconds(took.first_token)}` : null,
      `${seconds(took.total ?? elapsed)} in all`,
      this.leftOut ? "older turns left out" : null,
      end.finish === "length" ? `cut at ${end.usage?.completion_tokens ?? ""} tokens` : null,
    ];
    const pieces = facts.filter(Boolean).map((fact) => fact.replaceAll(" ", "\u00a0"));
    this.facts.append(h("p", { class: "note" }, pieces.join(" · ")));
  }

  #fail(message) {
    this.element.classList.add("failed");
    const box = h("p", { class: "error", role: "alert" }, message);
    if (this.text) this.facts.prepend(box);
    else this.body.replaceChildren(box);
  }

  #offer(whole) {
    if (this.text) {
      this.foot.append(h("button", { type: "button", class: "quiet",
        onclick: (event) => copy(this.text, event.currentTarget) }, "Copy"));
    }
    if (whole && this.routing?.scores && Object.keys(this.routing.scores).length) {
      const button = h("button", { type: "button", class: "quiet", "aria-expanded": "false",
        onclick: () => this.#why(button) }, "Why?");
      this.foot.append(button);
    }
    const again = this.retry ? [{ label: "Try again", act: this.retry }] : [];
    const last = whole ? this.actions : again;
    for (const { label, act } of last) {
      this.foot.append(h("button", { type: "button", class: "quiet", onclick: () => act(this) }, label));
    }
    this.foot.hidden = !this.foot.childNodes.length;
  }

  async #why(button) {
    const open = this.element.querySelector(":scope > .whybox");
    button.setAttribute("aria-expanded", String(!open));
    if (open) { open.remove(); return; }
    const box = h("div", { class: "whybox" }, h("p", { class: "note" }, "Asking the gate…"));
    this.element.append(box);
    try {
      const { messages, policy, router } = this.request;
      const wish = { messages, policy, router, why: true };
      const routed = await json("v1/route", { json: wish });
      box.replaceChildren(whyBox(routed.why ?? {}));
      box.scrollIntoView({ block: "nearest" });
    } catch (fault) {
      box.replaceChildren(h("p", { class: "error", role: "alert" }, fault.message));
    }
  }
}

/** What a screen reader hears when an answer is there. */
export function announce(card) {
  say(`Answer: ${card.text}. Mix: ${recipe(card.routing?.mix)}.`);
}
