/** Invariants of the scheduler's state: facts that it stores twice must agree. */
import type { RunState } from '@troupe/scheduler';

/** @returns a description of each violation */
export function brokenInvariants(state: RunState): string[] {
  if (state.phase !== 'running') return [];
  return [...unitFaults(state), ...workerFaults(state), ...leaseFaults(state)];
}

function unitFaults(state: RunState): string[] {
  const faults: string[] = [];
  const reliable = new Array<number>(state.units.length).fill(0);
  for (const { reliable: relied, units } of state.leases.values()) if (relied) for (const index of units) reliable[index]++;
  state.units.forEach(({ counted, reliableLeases, holder, nextHolder }, index) => {
    if (reliableLeases !== reliable[index])
      faults.push(`unit ${index}: reliableLeases is ${reliableLeases}, but ${reliable[index]} are open`);
    const free = !counted && reliableLeases === 0;
    if (state.uncovered.has(index) !== free) faults.push(`unit ${index}: ${free ? 'not ' : ''}in uncovered`);
    if (nextHolder !== undefined && !counted) faults.push(`unit ${index}: has a next holder but is not counted`);
    for (const id of [holder, nextHolder]) {
      const worker = id === undefined ? undefined : state.workers.get(id);
      if (id !== undefined && (!worker || worker.state === 'syncing' || worker.state === 'parked'))
        faults.push(`unit ${index}: held by ${id}, which has left, is syncing or is parked`);
    }
  });
  return faults;
}

function workerFaults(state: RunState): string[] {
  const faults: string[] = [];
  for (const worker of state.workers.values()) {
    const awaited = [...worker.unanswered.values()].some(({ late, probe }) => late || probe);
    const free = worker.state === 'ready' && worker.leases.size === 0 && !awaited;
    const listed = state.idle.has(worker.id) !== state.spare.has(worker.id);
    if (listed !== free) faults.push(`${worker.id}: ${free ? 'not ' : ''}in idle`);
    for (const id of worker.leases) {
      if (state.leases.get(id)?.workerId !== worker.id) faults.push(`${worker.id}: lists lease ${id} of another worker`);
    }
    if (worker.state !== 'ready' && worker.leases.size > 0) faults.push(`${worker.id}: is ${worker.state} but has leases`);
  }
  for (const id of state.idle) if (!state.workers.has(id)) faults.push(`${id}: idle but has left`);
  return faults;
}

function leaseFaults(state: RunState): string[] {
  const faults: string[] = [];
  for (const { id, workerId, round, units } of state.leases.values()) {
    if (round !== state.round) faults.push(`lease ${id}: belongs to round ${round}, but the round is ${state.round}`);
    if (!state.workers.get(workerId)?.leases.has(id)) faults.push(`lease ${id}: ${workerId} does not list it`);
    const { leaseStreams } = state.settings;
    if (leaseStreams > 0 && units.length !== 1) faults.push(`lease ${id}: has ${units.length} units in a reproducible run`);
  }
  return faults;
}
