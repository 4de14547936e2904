/** What every panel works with. */
import type { Api } from '../link/api.js';
import { RequestFailed } from '../link/api.js';
import type { Format } from '../reading/format.js';
import type { DashboardState, Input } from '../state/state.js';
import type { Texts } from '../texts.js';

export interface Page {
  /** In the language chosen now. */
  readonly texts: Texts;
  readonly format: Format;
  readonly state: DashboardState;
  readonly api: Api;
  dispatch(input: Input): void;
  /** Said once, at the bottom of the page and by a screen reader. */
  announce(text: string): void;
  /** A question with one dangerous answer. */
  confirm(title: string, what: string, yes: string): Promise<boolean>;
}

/** Draws what differs from `before`; undefined: everything, in the language chosen now. */
export type Panel = (state: DashboardState, before: DashboardState | undefined) => void;

/** Whether a part of the state is another one. */
export const changed = (
  state: DashboardState,
  before: DashboardState | undefined,
  ...keys: readonly (keyof DashboardState)[]
): boolean => before === undefined || keys.some((key) => state[key] !== before[key]);

/** Carries out what a person asked for; a refusal is announced. True when it was done. */
export async function attempt(page: Page, action: () => Promise<string | undefined>): Promise<boolean> {
  try {
    const done = await action();
    if (done) page.announce(done);
    return true;
  } catch (error) {
    if (!(error instanceof RequestFailed)) throw error;
    page.announce(error.code === 'unreachable' ? page.texts.unreachable : page.texts.failed(error.message, error.remedy).trim());
    return false;
  }
}
