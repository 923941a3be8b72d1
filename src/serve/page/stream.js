// Requests to the server this page came from.

function headers(key) {
  const all = { "Content-Type": "application/json" };
  if (key) all.Authorization = "Bearer " + key;
  return all;
}

// What the server said was wrong, in its own words where it has some.
async function problemOf(response) {
  let said = "";
  try { said = (await response.json()).error.message; } catch { /* no JSON: the status has to do */ }
  return Object.assign(new Error(said || "The server answered " + response.status + "."), { status: response.status });
}

// Yields the data of each server-sent event, parsed, up to [DONE]. Events are cut anywhere by the network.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
      const data = rest.slice(0, end).split("\n").filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      if (data === "[DONE]") return;
      if (!data) continue;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

// Tokens of a chunk, of either endpoint: {text, logprob, top: [{text, logprob}]}, the likeliest first.
function tokensOf(choice) {
  const given = choice.logprobs;
  if (!given) return [];
  if (given.content)
    return given.content.map((t) => ({
      text: t.token, logprob: t.logprob, top: t.top_logprobs.map((o) => ({ text: o.token, logprob: o.logprob })) }));
  return given.tokens.map((text, i) => ({
    text, logprob: given.token_logprobs[i],
    top: Object.entries(given.top_logprobs[i] || {}).map(([o, logprob]) => ({ text: o, logprob }))
      .sort((a, b) => b.logprob - a.logprob) }));
}

// Runs one request; calls onPiece(text, tokens) as it comes. Returns {finish, usage}.
async function generate(path, body, key, signal, onPiece) {
  const response = await fetch(path, {
    method: "POST", headers: headers(key), signal,
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }) });
  if (!response.ok) throw await problemOf(response);
  const outcome = { finish: "", usage: null };
  for await (const event of events(response)) {
    if (event.usage) outcome.usage = event.usage;
    const choice = event.choices[0];
    if (!choice) continue;
    onPiece((choice.delta ? choice.delta.content : choice.text) || "", tokensOf(choice));
    if (choice.finish_reason) outcome.finish = choice.finish_reason;
  }
  return outcome;
}
