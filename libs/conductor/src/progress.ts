/** The speed of a run over the last few seconds. */
export interface Progress {
  /** A round of `characters` is complete. */
  add(characters: number, nowMs: number): { readonly roundMs: number; readonly charsPerSecond: number };
}

const SPAN_MS = 5_000;

export function createProgress(startMs: number): Progress {
  const marks: { atMs: number; total: number }[] = [{ atMs: startMs, total: 0 }];
  return {
    add(characters, nowMs) {
      const last = marks[marks.length - 1];
      marks.push({ atMs: nowMs, total: last.total + characters });
      while (marks.length > 2 && marks[1].atMs < nowMs - SPAN_MS) marks.shift();
      const spanMs = Math.max(nowMs - marks[0].atMs, 1);
      return { roundMs: nowMs - last.atMs, charsPerSecond: ((last.total + characters - marks[0].total) * 1000) / spanMs };
    },
  };
}
