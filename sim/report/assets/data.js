// Data of the page: base64 columns become typed arrays, and turns are grouped by program.

const ARRAYS = { f8: Float64Array, f4: Float32Array, u4: Uint32Array };

/** A column `[kind, base64]` as a typed array. */
function decodeColumn([kind, text]) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new ARRAYS[kind](bytes.buffer);
}

/** Decode the columns of a table; other values stay as they are. */
function decodeTable(table) {
  const isColumn = (value) => Array.isArray(value) && value.length === 2 && value[0] in ARRAYS && typeof value[1] === "string";
  return Object.fromEntries(Object.entries(table).map(([name, value]) => [name, name !== "names" && isColumn(value) ? decodeColumn(value) : value]));
}

/** First row of every program in a table whose rows are grouped by program, and the number of rows at the end. */
function firstRows(programOfRow, programs) {
  const first = new Uint32Array(programs + 1);
  for (const program of programOfRow) first[program + 1] += 1;
  for (let i = 0; i < programs; i++) first[i + 1] += first[i];
  return first;
}

/** Position of the last value of a sorted array (between two positions) that is at most x; from - 1 if there is none. */
function lastAtMost(values, x, from = 0, to = values.length) {
  while (from < to) {
    const middle = (from + to) >> 1;
    if (values[middle] <= x) from = middle + 1;
    else to = middle;
  }
  return from - 1;
}

/** A run of the page, ready to draw. */
function decodeRun(raw) {
  const programs = decodeTable(raw.programs);
  const turns = decodeTable(raw.turns);
  const count = programs.names.length;
  const run = { ...raw, programs, turns, engine: decodeTable(raw.engine), states: decodeTable(raw.states) };
  turns.first = firstRows(turns.program, count);
  if (raw.pins) {
    run.pins = decodeTable(raw.pins);
    run.pins.first = firstRows(run.pins.program, count);
  }
  return run;
}

/** The states of a turn and the tool call after it: [state, from, to], empty ones left out. */
function statesOfTurn(run, row) {
  const { arrival, queued, reload, prefill, decode, tool_s } = run.turns;
  let at = arrival[row];
  const found = [];
  for (const [state, length] of [["queued", queued[row]], ["reload", reload[row]], ["prefill", prefill[row]], ["decode", decode[row]], ["tool", tool_s[row]]]) {
    if (length > 0) found.push([state, at, at + length]);
    at += length;
  }
  return found;
}

/** Row of a program's latest turn that has arrived by this time; -1 before the first. */
function turnAt(run, program, time) {
  const row = lastAtMost(run.turns.arrival, time, run.turns.first[program], run.turns.first[program + 1]);
  return row < run.turns.first[program] ? -1 : row;
}

/** Row of the pin of a program that holds at this time, or -1. */
function pinAt(run, program, time) {
  if (!run.pins) return -1;
  const row = lastAtMost(run.pins.start, time, run.pins.first[program], run.pins.first[program + 1]);
  return row >= run.pins.first[program] && time < run.pins.start[row] + run.pins.length[row] ? row : -1;
}
