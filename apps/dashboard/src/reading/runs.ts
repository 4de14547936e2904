/** The runs of the folder: their names, and those whose gradient flow can be compared. */
import type { FlowState, GradientFlow, PastRun } from '@troupe/run';

/**
 * Names a run in a chart that also shows others of `runs`: its name, else its folder; the model unless the name contains it; the folder
 * where another run has the same name and model.
 * @param currentWord marks the run that this page belongs to
 */
export function runLabel({ name, folder, model, current }: PastRun, runs: readonly PastRun[], currentWord: string): string {
  const title = name || folder;
  const label = title.includes(model) ? title : `${title}, ${model}`;
  if (current) return `${label} (${currentWord})`;
  const namesakes = runs.filter((other) => other.name === name && other.model === model);
  return name && namesakes.length > 1 ? `${label}, ${folder}` : label;
}

export interface ComparableFlow {
  readonly run: PastRun;
  /** [T], of the top layer; index i: i steps before the last character. */
  readonly norms: readonly number[];
  /** Rounds that were completed when it was computed. */
  readonly round: number;
  readonly state: FlowState;
}

/**
 * The gradient flow of each run that has one; of runs with the same model only the first.
 * @param own the flows of the current run, oldest first. Of other runs only the last is known, so the current run shows the flow whose
 * round is nearest to the earliest of those: cells are compared after like training
 */
export function comparableFlows(runs: readonly PastRun[], own: readonly GradientFlow[]): ComparableFlow[] {
  const seen = new Set<string>();
  const others = runs.flatMap(({ current, flow }) => (current || !flow ? [] : [flow.round]));
  const like = others.length > 0 ? nearestTo(own, Math.min(...others)) : own.at(-1);
  return runs.flatMap((run) => {
    const flow = run.current ? (like ?? run.flow) : run.flow;
    const norms = flow?.layers.at(-1);
    if (!flow || !norms || seen.has(run.model)) return [];
    seen.add(run.model);
    return [{ run, norms, round: flow.round, state: flow.state ?? 'h' }];
  });
}

function nearestTo(flows: readonly GradientFlow[], round: number): GradientFlow | undefined {
  return flows.toSorted((a, b) => Math.abs(a.round - round) - Math.abs(b.round - round))[0];
}
