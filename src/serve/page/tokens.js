// Text that grows token by token. The text is what the server sent, always; a token's probability is attached
// to the piece of text that it became. Text is only ever set as text: nothing a model says is markup here.

class TokenText {
  constructor(element) {
    this.element = element;
    this.text = "";
    this.waiting = [];  // tokens whose text has not come yet: the server holds back what may still change
    this.rest = "";     // text without its token
  }

  push(text, tokens) {
    this.text += text;
    this.rest += text;
    if (!tokens.length && !this.waiting.length) return this.flush();
    this.waiting.push(...tokens);
    while (this.waiting.length && this.rest) {
      const token = this.waiting[0];
      if (this.rest.startsWith(token.text) && token.text) {
        this.add(token.text, token);
      } else if (token.text.startsWith(this.rest)) {
        return;  // the end of this token is still to come
      } else if (token.text.includes("\ufffd")) {
        this.addCharacter(token);  // part of a character: the tokens after it have the other parts
        continue;
      } else {
        this.add(this.rest, token);  // a blank that was cut off, or the like
      }
      this.waiting.shift();
    }
  }

  addCharacter(token) {
    this.add(String.fromCodePoint(this.rest.codePointAt(0)), token);
    while (this.waiting.length && this.waiting[0].text.includes("\ufffd")) this.waiting.shift();
  }

  add(text, token) {
    const span = document.createElement("span");
    span.textContent = text;
    if (token) {
      span.className = "known";
      span.token = token;
      span.style.setProperty("--p", Math.exp(token.logprob).toFixed(4));
    }
    this.element.append(span);
    this.rest = this.rest.slice(text.length);
  }

  flush() {
    if (this.rest) this.add(this.rest, null);
  }
}

const percent = (p) => (p >= 0.9995 ? "100%" : p < 0.0005 ? "<0.1%" : (p * 100).toFixed(1) + "%");
const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "·") || "∅";

function showTip(span) {
  const tip = document.getElementById("tip");
  const token = span.token;
  const rows = token.top.some((o) => o.text === token.text)
    ? token.top.slice() : [{ text: token.text, logprob: token.logprob }, ...token.top];
  tip.replaceChildren(...rows.map((option) => {
    const row = document.createElement("div"), text = document.createElement("b"), share = document.createElement("span");
    row.className = option.text === token.text ? "row chosen" : "row";
    row.style.setProperty("--p", Math.exp(option.logprob).toFixed(4));
    text.textContent = visible(option.text);
    share.textContent = percent(Math.exp(option.logprob));
    row.append(text, share);
    return row;
  }));
  const more = document.createElement("p");
  more.className = "more";
  more.textContent = "log-probability " + token.logprob.toFixed(4);
  tip.append(more);
  tip.hidden = false;
  const at = span.getClientRects()[0] || span.getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left), window.innerWidth - tip.offsetWidth - 8);
  const below = at.bottom + 6 + tip.offsetHeight <= window.innerHeight;
  tip.style.left = left + "px";
  tip.style.top = (below ? at.bottom + 6 : Math.max(8, at.top - tip.offsetHeight - 6)) + "px";
}

function hideTip() {
  document.getElementById("tip").hidden = true;
  for (const span of document.querySelectorAll(".tokens .current")) span.classList.remove("current");
}

// Hover and tap; with the keyboard an answer takes the focus and arrows walk through its tokens.
function watchTokens(log) {
  log.addEventListener("pointerover", (event) => {
    if (event.target.token) { hideTip(); showTip(event.target); }
  });
  log.addEventListener("pointerout", (event) => { if (event.target.token) hideTip(); });
  log.addEventListener("scroll", hideTip);
  log.addEventListener("focusout", hideTip);
  log.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !event.target.classList.contains("tokens")) return;
    event.preventDefault();
    const all = [...event.target.querySelectorAll(".known")];
    if (!all.length) return;
    const now = all.findIndex((span) => span.classList.contains("current"));
    const next = all[Math.min(all.length - 1, Math.max(0, now < 0 ? (step > 0 ? 0 : all.length - 1) : now + step))];
    hideTip();
    next.classList.add("current");
    next.scrollIntoView({ block: "nearest" });
    showTip(next);
  });
}
