/** When in a round something happens, and what it costs. */
import type { MessageType } from '@troupe/protocol';
import type { Departure, Simulation } from './simulation.js';

/** Such a message is about to leave this machine. */
export const from = (type: MessageType, who: string) => (departure: Departure) =>
  departure.message.type === type && departure.from === who;
/** Such a message is about to leave for this machine. */
export const to = (type: MessageType, who: string) => (departure: Departure) =>
  departure.message.type === type && departure.to === who;

/** The longest time between two commits from now on. */
export async function longestRoundMs(simulation: Simulation): Promise<number> {
  const first = simulation.commits.length - 1;
  await simulation.finish();
  const times = simulation.commits.slice(first).map(([, ms]) => ms);
  return Math.max(...times.slice(1).map((ms, i) => ms - times[i]));
}
