// The conversation, the settings, the keys.

const $ = (id) => document.getElementById(id);
const messages = [];  // {role, content} of the chat so far
let running = null;   // AbortController of the answer that is coming

const mode = () => document.querySelector("input[name=mode]:checked").value;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function addMessage(kind, who) {
  $("empty").hidden = true;
  const message = element("article", "message " + kind);
  const body = element("div", "body");
  message.append(element("div", "who", who), body);
  $("log").append(message);
  return message;
}

function nearEnd() {
  const log = $("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 80;
}
function toEnd() { $("log").scrollTop = $("log").scrollHeight; }

// Fields that are set; the others are the model's own.
function sampling() {
  const body = {};
  for (const name of ["temperature", "top_p", "top_k", "min_p", "seed"])
    if ($(name).value !== "") body[name] = Number($(name).value);
  body.max_tokens = $("max_tokens").value === "" ? 256 : Number($("max_tokens").value);
  if ($("model").value) body.model = $("model").value;
  return body;
}

function requestFor(prompt) {
  const body = sampling();
  if (mode() === "completion") {
    if ($("logprobs").checked) body.logprobs = 5;
    return { path: "v1/completions", body: { ...body, prompt } };
  }
  if ($("logprobs").checked) Object.assign(body, { logprobs: true, top_logprobs: 5 });
  const system = $("system").value.trim();
  const all = system ? [{ role: "system", content: system }, ...messages] : messages;
  return { path: "v1/chat/completions", body: { ...body, messages: all } };
}

function setRunning(controller) {
  running = controller;
  $("send").textContent = controller ? "Stop" : "Send";
  $("send").classList.toggle("stop", Boolean(controller));
  $("log").setAttribute("aria-busy", String(Boolean(controller)));
}

function footOf(outcome, seconds, firstSeconds) {
  const parts = [];
  if (outcome.usage) {
    const made = outcome.usage.completion_tokens;
    parts.push(made + (made === 1 ? " token" : " tokens"));
    if (made > 1 && seconds > firstSeconds) parts.push(short((made - 1) / (seconds - firstSeconds)) + " tokens/s");
    const cached = (outcome.usage.prompt_tokens_details || {}).cached_tokens;
    if (cached) parts.push(cached + " of " + outcome.usage.prompt_tokens + " prompt tokens cached");
  }
  if (outcome.finish === "length") parts.push("cut at the limit");
  if (outcome.finish === "stopped") parts.push("stopped");
  return parts;
}

async function answer(prompt) {
  for (const button of document.querySelectorAll(".foot button")) button.remove();  // of earlier answers
  const completion = mode() === "completion";
  const request = requestFor(prompt);
  const message = addMessage(completion ? "completion" : "assistant", completion ? "Completion" : $("model").value || "Model");
  message.classList.add("busy");
  const body = message.querySelector(".body");
  if (completion) body.append(element("span", "given", prompt));
  const tokens = element("span", "tokens");
  tokens.tabIndex = 0;
  tokens.setAttribute("role", "group");
  tokens.setAttribute("aria-label", "Answer; arrow keys show the probabilities of its tokens");
  body.append(tokens);
  toEnd();

  const controller = new AbortController();
  setRunning(controller);
  const text = new TokenText(tokens);
  const began = performance.now();
  let first = 0, outcome = { finish: "", usage: null }, problem = null;
  try {
    outcome = await generate(request.path, request.body, $("key").value, controller.signal, (piece, scored) => {
      const follow = nearEnd();
      first = first || performance.now();
      text.push(piece, scored);
      if (follow) toEnd();
    });
  } catch (error) {
    if (controller.signal.aborted) outcome.finish = "stopped";
    else problem = error;
  }
  text.flush();
  message.classList.remove("busy");
  if (!completion && !problem && message.isConnected) messages.push({ role: "assistant", content: text.text });
  const foot = element("div", "foot");
  message.append(foot);
  const again = element("button", "quiet", problem ? "Try again" : "Regenerate");
  again.type = "button";
  again.addEventListener("click", () => regenerate(message, prompt, !completion && !problem));
  foot.append(again);
  for (const part of footOf(outcome, (performance.now() - began) / 1000, (first - began) / 1000)) foot.append(element("span", "", part));
  if (problem) {
    const said = element("p", "problem", problem.status || !(problem instanceof TypeError) ? problem.message : "The server does not answer.");
    said.setAttribute("role", "alert");
    body.append(said);
    if (problem.status === 401) openPanel(true), $("key").focus();
  }
  setRunning(null);
  if (nearEnd()) toEnd();
}

function regenerate(message, prompt, kept) {
  if (running) return;
  hideTip();
  if (kept) messages.pop();
  message.remove();
  $("prompt").focus();
  answer(prompt);
}

function send() {
  if (running) return running.abort();
  const prompt = $("prompt").value;
  if (!prompt.trim() || !$("settings").reportValidity()) return;
  $("prompt").value = "";
  fitPrompt();
  openPanel(false);
  if (mode() === "chat") {
    messages.push({ role: "user", content: prompt });
    addMessage("user", "You").querySelector(".body").textContent = prompt;
  }
  answer(prompt);
}

function startAnew() {
  if (running) running.abort();
  messages.length = 0;
  for (const message of document.querySelectorAll(".message")) message.remove();
  $("empty").hidden = false;
  $("prompt").focus();
}

function fitPrompt() {
  const prompt = $("prompt");
  prompt.style.height = "auto";
  prompt.style.height = prompt.scrollHeight + 2 + "px";
}

function openPanel(open) {
  document.body.classList.toggle("panel-open", open);
  $("panel-toggle").setAttribute("aria-expanded", String(open));
}

function takeMode() {
  const completion = mode() === "completion";
  $("system-field").hidden = completion;
  $("prompt").placeholder = completion ? "Begin a text" : "Write a message";
  $("prompt-label").textContent = completion ? "Text to go on with" : "Message";
  $("empty-title").textContent = completion ? "Begin a text" : "What shall it be?";
}

function takeModel(model) {
  const chosen = $("model").value;
  $("model").replaceChildren(...model.names.map((name) => new Option(name, name, false, name === chosen)));
  const [chat, completion] = document.querySelectorAll("input[name=mode]");
  chat.disabled = !model.chat_template;
  if (chat.disabled) completion.checked = true;
  takeMode();
}

const kThemes = ["system", "light", "dark"];
function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const said = "Colours: " + (theme === "system" ? "as the system" : theme);
  $("theme").textContent = { system: "◐", light: "○", dark: "●" }[theme];
  $("theme").setAttribute("aria-label", said);
  $("theme").title = said;
}

let theme = "system";
$("theme").addEventListener("click", () => setTheme(theme = kThemes[(kThemes.indexOf(theme) + 1) % kThemes.length]));
$("panel-toggle").addEventListener("click", () => openPanel(!document.body.classList.contains("panel-open")));
$("new").addEventListener("click", startAnew);
$("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
$("settings").addEventListener("submit", (event) => event.preventDefault());
$("prompt").addEventListener("input", fitPrompt);
$("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!running) send();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  hideTip();
  if (running) running.abort();
  else if (document.body.classList.contains("panel-open")) { openPanel(false); $("prompt").focus(); }
});
$("colour").addEventListener("change", () => document.body.classList.toggle("coloured", $("colour").checked));
for (const input of document.querySelectorAll("input[name=mode]")) input.addEventListener("change", takeMode);
watchTokens($("log"));
watchGroup(() => $("key").value, takeModel);
fitPrompt();
