// An answer word by word. Without this script the form is sent whole and answered whole.
(() => {
  "use strict";
  const form = document.getElementById("try");
  if (!form) return;
  const answer = document.getElementById("answer");
  const button = form.querySelector("button");
  // As components.html has them.
  const ENDS = { eos: "ended by itself", length: "cut off at the most tokens", stop: "ended at a stop text" };
  const TITLES = { base: "Base", adapter: "With the adapter" };

  const make = (name, className, text = "") => {
    const element = document.createElement(name);
    element.className = className;
    element.textContent = text;
    return element;
  };

  // One card a side, as fragments/answer.html has them.
  const sides = (prompt, both) => {
    const grid = make("div", both ? "grid2" : "");
    const cards = {};
    for (const side of both ? ["base", "adapter"] : ["base"]) {
      const card = make("section", side === "adapter" ? "card tuned" : "card");
      const head = make("div", "row spread");
      const figures = make("span", "faint");
      head.append(make("h2", "", both ? TITLES[side] : "Answer"), figures);
      const text = make("pre", "code scroll answer");
      text.tabIndex = 0;
      const written = document.createTextNode("");
      text.append(make("span", "faint", prompt), written);
      card.append(head, text);
      grid.append(card);
      cards[side] = { figures, written };
    }
    answer.replaceChildren(grid);
    return cards;
  };

  const fail = (message) => {
    const banner = make("p", "banner bad", message);
    banner.setAttribute("role", "alert");
    answer.append(banner);
  };

  const on = (cards) => ({
    text({ side, text }) { cards[side].written.data += text; },
    done({ side, text, new_tokens: tokens, tokens_per_second: speed, finish_reason: reason }) {
      cards[side].written.data = text;
      const rate = speed >= 10 ? Math.round(speed) : speed.toFixed(1);
      cards[side].figures.textContent = `${tokens} tokens, ${rate} a second, ${ENDS[reason] ?? reason}`;
    },
    error({ message }) { fail(message); },
  });

  // Messages end with an empty line; a piece of the stream may hold half of one.
  const follow = async (body, handlers) => {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const messages = (rest + value).split("\n\n");
      rest = messages.pop();
      for (const message of messages) {
        const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(message) ?? [];
        if (name) handlers[name]?.(JSON.parse(data));
      }
    }
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = new URLSearchParams(new FormData(form));
    button.disabled = true;
    form.classList.add("busy");
    try {
      const headers = { "HX-Request": "true" };
      const response = await fetch(form.dataset.stream, { method: "POST", body: fields, headers });
      if (!response.ok) {
        // A refusal comes as the fragment that the server made of it.
        answer.innerHTML = await response.text();
        return;
      }
      const both = fields.get("model").includes("/");
      await follow(response.body, on(sides(fields.get("prompt"), both)));
    } catch (error) {
      fail(`The answer broke off: ${error.message}`);
    } finally {
      button.disabled = false;
      form.classList.remove("busy");
    }
  });
})();
