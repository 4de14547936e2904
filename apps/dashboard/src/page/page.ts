/** What every panel gets. */
import type { Api } from '../link/api.js';
import { RequestFailed } from '../link/api.js';
import type { Format } from '../reading/format.js';
import { problemText } from '../reading/problem.js';
import type { DashboardState, Input } from '../state/state.js';
import type { Language, Texts } from '../texts.js';

export interface Page {
  readonly language: Language;
  /** In the current language. */
  readonly texts: Texts;
  readonly format: Format;
  readonly state: DashboardState;
  readonly api: Api;
  dispatch(input: Input): void;
  /** Shows a message at the bottom of the page; screen readers read it. */
  announce(text: string): void;
  /** Asks before a dangerous action. */
  confirm(title: string, what: string, yes: string): Promise<boolean>;
}

/** Draws what differs from `before`; with undefined everything, in the current language. */
export type Panel = (state: DashboardState, before: DashboardState | undefined) => void;

/** Whether one of these parts of the state has changed. */
export const changed = (
  state: DashboardState,
  before: DashboardState | undefined,
  ...keys: readonly (keyof DashboardState)[]
): boolean => before === undefined || keys.some((key) => state[key] !== before[key]);

/** Carries out what the person asked for, and announces a refusal. @returns whether it was done */
export async function attempt(page: Page, action: () => Promise<string | undefined>): Promise<boolean> {
  try {
    const done = await action();
    if (done) page.announce(done);
    return true;
  } catch (error) {
    if (!(error instanceof RequestFailed)) throw error;
    page.announce(
      error.code === 'unreachable' ? page.texts.unreachable : page.texts.failed(problemText(error.message, error.remedy)),
    );
    return false;
  }
}
