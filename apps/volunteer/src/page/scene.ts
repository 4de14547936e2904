/** Everything that the page shows, at one moment. */
import type { CreditFacts } from '../decisions/board.js';
import type { Credit } from '../decisions/credit.js';
import type { Device } from '../decisions/device.js';
import type { RunCredit } from '../decisions/finish.js';
import type { RunFacts } from '../decisions/run-facts.js';
import type { Settings } from '../decisions/settings.js';
import type { Status } from '../decisions/status.js';
import type { Language } from '../texts.js';

/** Whether the coordinator offers the model as a file, and what became of fetching it. */
export type HomeState = 'absent' | 'offered' | 'busy' | 'failed';

export interface Scene {
  readonly language: Language;
  readonly settings: Settings;
  readonly status: Status;
  /** The session is started and has not ended; it may be paused. */
  readonly isOn: boolean;
  readonly facts: RunFacts | undefined;
  /** How long a round takes, by the answers to this page; undefined while too few have come. */
  readonly roundMs: number | undefined;
  readonly device: Device;
  /** The volunteer has agreed to much traffic. */
  readonly consents: boolean;
  readonly credit: Credit;
  readonly runCredit: RunCredit | undefined;
  /** Who computed what, as the coordinator says. */
  readonly credits: CreditFacts | undefined;
  /** The run offers its model as a file. */
  readonly home: HomeState;
  /** Why this browser cannot take part: a code that texts.ts explains. */
  readonly obstacle: string | undefined;
  /** HTTP works, but WebSockets do not. */
  readonly isBlocked: boolean;
  readonly host: string;
  /** False: the browser gives this page no threads and no GPU. */
  readonly isSecure: boolean;
}
