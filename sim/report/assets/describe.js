// The timeline in words and tables. Text is only ever set as textContent, because names come from traces.

/** An element with a text in it. */
function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Colours and font, from the style sheet: they follow the reader's scheme. */
function inks(root) {
  const style = getComputedStyle(root);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  const states = Object.fromEntries(["queued", "reload", "prefill", "decode", "tool", "pinned", "running", "cached", "waiting"].map((state) => [state, of(state)]));
  return { states, faint: of("faint"), line: of("line"), chosen: of("chosen"), font: `11px ${style.fontFamily}` };
}

const PANELS = {
  states: { stacked: true, unit: "programs", of: "states", curves: ["queued", "reload", "prefill", "decode", "tool"] },
  kv: { stacked: true, unit: "KV blocks", of: "engine", curves: ["running", "pinned", "cached"], prefix: "kv_" },
  load: { stacked: false, unit: "turns", of: "engine", curves: ["running", "waiting"] },
};

/** The curves of a panel, and the top of its axis. */
function curvesOf(run, panel, ink) {
  const { stacked, of, curves, prefix = "" } = PANELS[panel];
  const table = run[of];
  const drawn = curves.map((name) => ({ values: table[prefix + name], colour: ink.states[name] }));
  run.tops ??= {};
  run.tops[panel] ??= panel === "kv" ? run.usable_blocks : Math.max(1, highest(drawn, stacked));
  return { edges: table.edges, curves: drawn, top: run.tops[panel], stacked };
}

function highest(curves, stacked) {
  let most = 0;
  for (let i = 0; i < curves[0].values.length; i++) {
    const values = curves.map((curve) => curve.values[i]);
    most = Math.max(most, stacked ? values.reduce((sum, value) => sum + value, 0) : Math.max(...values));
  }
  return most;
}

/** The values of a panel's curves at a moment. */
function describeCurves(run, panel, time) {
  const { of, curves, unit, prefix = "" } = PANELS[panel];
  const table = run[of];
  const bin = lastAtMost(table.edges, time);
  if (bin < 0 || bin >= table.edges.length - 1) return null;
  const lines = curves.map((name) => `${name}: ${shown(table[prefix + name][bin])} ${unit}`);
  if (panel === "kv") {
    const held = curves.reduce((sum, name) => sum + table[prefix + name][bin], 0);
    lines.push(`empty: ${shown(Math.max(0, run.usable_blocks - held))} ${unit}`);
  }
  return [`${shown(table.edges[bin])} – ${shown(table.edges[bin + 1])} s`, ...lines];
}

/** What a program does at a moment. */
function describeProgram(run, program, time) {
  const { names, arrival, finish, jct, turns: counts } = run.programs;
  const lines = [names[program], `at ${shown(time)} s; JCT ${shown(jct[program])} s, ${counts[program]} turns`];
  const row = turnAt(run, program, time);
  if (row < 0) return [...lines, `arrives at ${shown(arrival[program])} s`];
  if (time > finish[program]) return [...lines, `finished at ${shown(finish[program])} s`];
  const { turn, replica, prompt_tokens, cached_tokens, recomputed_tokens, output_tokens, preemptions, tool } = run.turns;
  const now = statesOfTurn(run, row).find(([, from, to]) => time >= from && time < to);
  if (now) {
    const name = now[0] === "tool" && run.tools[tool[row]] ? `tool ${run.tools[tool[row]]}` : now[0];
    const where = replica ? ` on replica ${replica[row]}` : "";
    lines.push(`turn ${turn[row]}${where}: ${name}, ${shown(now[1])} – ${shown(now[2])} s (${shown(now[2] - now[1])} s)`);
  } else {
    lines.push(`turn ${turn[row]} has ended: waits for a tool worker or for sub-agents`);
  }
  lines.push(`prompt ${shown(prompt_tokens[row])} tokens, ${shown(cached_tokens[row])} cached, ${shown(recomputed_tokens[row])} recomputed`);
  lines.push(`output ${shown(output_tokens[row])} tokens` + (preemptions[row] ? `; preempted ${preemptions[row]} times` : ""));
  const pin = pinAt(run, program, time);
  if (pin >= 0) {
    const { start, length, ttl, end } = run.pins;
    const asked = Number.isFinite(ttl[pin]) ? `TTL ${shown(ttl[pin])} s` : "no TTL";
    lines.push(`pinned ${shown(start[pin])} – ${shown(start[pin] + length[pin])} s (${asked}, ${run.pin_ends[end[pin]]})`);
  }
  return lines;
}

/** List the turns of a program in a table. */
function listTurns(table, run, program) {
  const columns = ["turn", "arrival s", "queued s", "prefill s", "decode s", "prompt", "cached", "recomputed", "output", "preemptions", "tool", "tool s"];
  const { turns } = run;
  const onReplica = turns.replica ? ["replica"] : [];
  const head = document.createElement("tr");
  head.append(...[...columns, ...onReplica].map((name) => element("th", name, { scope: "col" })));
  const rows = [];
  for (let row = turns.first[program]; row < turns.first[program + 1]; row++) {
    const before = ["arrival", "queued", "prefill", "decode", "prompt_tokens", "cached_tokens", "recomputed_tokens", "output_tokens", "preemptions"];
    const cells = [...before.map((name) => shown(turns[name][row])), run.tools[turns.tool[row]], shown(turns.tool_s[row]), ...onReplica.map((name) => shown(turns[name][row]))];
    const line = document.createElement("tr");
    line.append(element("th", String(turns.turn[row]), { scope: "row" }), ...cells.map((cell) => element("td", cell)));
    rows.push(line);
  }
  table.replaceChildren(element("caption", run.programs.names[program]), head, ...rows);
}
