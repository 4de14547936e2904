/** How the commands of Troupe end. */
export const EXIT = {
  ok: 0,
  failed: 1,
  /** Wrong flags, or a run that cannot be as they say. The same command fails again. */
  usage: 2,
  /** The loss overflowed or stayed above its limit. The same command diverges again. */
  diverged: 3,
  /** The coordinator refused a worker for good: wrong token, ban, or another version. */
  refused: 4,
  /** A worker has used up its --traffic-limit. A service manager that repeated the command would lift the limit. */
  trafficLimit: 5,
  /** As shells report a program that Ctrl-C has ended. */
  interrupted: 130,
} as const;

const LASTING: ReadonlySet<number> = new Set([EXIT.usage, EXIT.diverged, EXIT.refused, EXIT.trafficLimit]);

/** Whether the same command would end in the same way, so that a service manager should not repeat it. */
export function isLastingExit(code: number): boolean {
  return LASTING.has(code);
}
