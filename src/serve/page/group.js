// The live view of the ranks, from GET /group.

const kGroupEvery = 1000;  // milliseconds, while the page is seen
const rates = [];          // tokens a second, the last minute

const short = (n) => (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(n > 0 ? 2 : 0));
const bytes = (n) => (n >= 2 ** 30 ? (n / 2 ** 30).toFixed(1) + " GiB" : Math.round(n / 2 ** 20) + " MiB");
const duration = (s) => (s < 60 ? Math.floor(s) + " s" : s < 3600 ? Math.floor(s / 60) + " min"
  : s < 86400 ? Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min" : Math.floor(s / 86400) + " d");

function setText(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}

function rankRow() {
  const row = document.createElement("li");
  const line = document.createElement("div"), name = document.createElement("span"), memory = document.createElement("span");
  line.className = "line";
  line.append(name, memory);
  const bar = document.createElement("div");
  bar.className = "bar";
  for (const part of ["work", "sums", "waits"]) {
    const piece = document.createElement("i");
    piece.className = part;
    bar.append(piece);
  }
  row.append(line, bar);
  return row;
}

function showRank(row, rank) {
  const [name, memory] = row.querySelectorAll(".line span");
  name.textContent = "Rank " + rank.rank + ", " + rank.host;
  memory.textContent = bytes(rank.peak_memory_bytes || 0);
  // Without a step lately: the shares since the start.
  const total = rank.step_seconds || 0;
  const sums = rank.recent_sum_share ?? (total > 0 ? rank.sum_seconds / total : 0);
  const waits = rank.recent_waiting_share ?? (total > 0 ? rank.waiting_seconds / total : 0);
  const work = total > 0 ? Math.max(0, 1 - sums - waits) : 0;
  const said = `computing ${percent(work)}, sums ${percent(sums)}, waiting for other ranks ${percent(waits)}`;
  row.title = `pid ${rank.pid}, ${rank.device}\n${said}`;
  const bar = row.querySelector(".bar");
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", said);
  [work, sums, waits].forEach((share, i) => bar.children[i].style.setProperty("--share", Math.min(1, share).toFixed(4)));
}

function showGroup(group) {
  const rate = group.tokens.recent_generated_per_second;
  rates.push(rate);
  if (rates.length > 60) rates.shift();
  const most = Math.max(1, ...rates);
  document.querySelector("#spark polyline").setAttribute("points",
    rates.map((r, i) => `${(i + 60 - rates.length) * 120 / 59},${(27 - 25 * r / most).toFixed(2)}`).join(" "));
  setText("rate", short(rate));
  setText("running", String(group.requests.running));
  setText("waiting", String(group.requests.waiting));
  setText("pages", group.pages.in_use + "/" + group.pages.all);
  setText("uptime", duration(group.uptime_seconds));
  setText("summary", group.model.names[0] + " · " + group.ranks.length + (group.ranks.length === 1 ? " rank" : " ranks")
    + (group.status === "ok" ? "" : " · " + group.status));
  const list = document.getElementById("ranks");
  while (list.children.length > group.ranks.length) list.lastChild.remove();
  while (list.children.length < group.ranks.length) list.append(rankRow());
  group.ranks.forEach((rank, i) => showRank(list.children[i], rank));
}

// Asks again and again; onModel hears of the model whenever the server answers after it did not.
async function watchGroup(keyOf, onModel) {
  let known = false;
  for (;;) {
    if (!document.hidden) {
      const problem = document.getElementById("group-error");
      try {
        const response = await fetch("group", { headers: headers(keyOf()) });
        if (!response.ok) throw await problemOf(response);
        const group = await response.json();
        if (!known) onModel(group.model);
        known = true;
        problem.hidden = true;
        showGroup(group);
      } catch (error) {
        known = false;
        problem.textContent = error.status ? error.message : "The server does not answer.";
        problem.hidden = false;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, kGroupEvery));
  }
}
