/** Why a link could not be opened, in words for the person who can change it. */
import { TransportError } from '../connection.js';
import type { RtcRole } from './rtc.js';

/** What is known when an attempt ends without a link. */
export interface Attempt {
  readonly role: RtcRole;
  readonly remote: string;
  readonly timeoutMs: number;
  /** Whether the other side has described itself. */
  readonly described: boolean;
  /** Whether the two sides have reached each other. */
  readonly connected: boolean;
  /** Whether TURN servers are configured, and one of them gave this side an address. */
  readonly turn: boolean;
  readonly relayed: boolean;
  /** A TURN server that refused the credentials, where the platform tells. */
  readonly refusedBy: string | undefined;
}

/** The deadline has passed. */
export function explainTimeout(attempt: Attempt): TransportError {
  const { remote, timeoutMs, connected, described } = attempt;
  if (connected) {
    const remedy = 'Check that both sides run the same version of Troupe, and that the other machine is not overloaded.';
    return new TransportError('timeout', `${remote} was reached, but said nothing within ${timeoutMs / 1000} s`, remedy);
  }
  return described ? explainNoPath(attempt) : noDescription(attempt);
}

/** The platform has given up. */
export function explainFailure(attempt: Attempt): TransportError {
  if (!attempt.connected) return explainNoPath(attempt);
  const message = `${attempt.remote} was reached, but no encrypted link to it could be made`;
  const remedy = 'Connect again. If it happens every time, check that nothing changes the signals of the two sides.';
  return new TransportError('refused', message, remedy);
}

function noDescription({ role, remote, timeoutMs }: Attempt): TransportError {
  const what = role === 'offerer' ? 'did not answer' : 'made no offer';
  const remedy = 'Check that the other machine is still connected to the coordinator, then connect again.';
  return new TransportError('timeout', `${remote} ${what} within ${timeoutMs / 1000} s`, remedy);
}

export function explainNoPath({ remote, turn, relayed, refusedBy }: Attempt): TransportError {
  const fail = (why: string, remedy: string) => new TransportError('unreachable', `no path to ${remote}: ${why}`, remedy);
  if (!turn) {
    return fail(
      'a firewall or a router blocks UDP between the two machines, and no TURN server is configured',
      'The organizer can open UDP between the machines, or run a TURN server: see deploy/README.md.',
    );
  }
  if (refusedBy !== undefined) {
    return fail(
      `the TURN server ${refusedBy} refuses the credentials`,
      'Credentials expire: connect again to get new ones. If that does not help, the organizer must check that Troupe and the TURN server ' +
        'have the same secret, and that their clocks agree.',
    );
  }
  if (!relayed) {
    return fail(
      'no TURN server gave this machine an address; it is out of reach over UDP, or refuses the credentials',
      'Credentials expire: connect again to get new ones. If that does not help, the organizer must check that the TURN server runs, ' +
        'that this machine reaches its UDP port, and that Troupe and the server have the same secret and agreeing clocks: see ' +
        'deploy/README.md.',
    );
  }
  return fail(
    'not even the TURN server connects the two machines',
    "The organizer must check that the TURN server's relay ports are open, and that it allows the addresses of both machines " +
      '(denied-peer-ip): see deploy/README.md.',
  );
}

/** The platform throws where it should not. */
export function platformFailure(cause: unknown): TransportError {
  const message = `WebRTC does not work here: ${(cause as Error).message}`;
  return new TransportError('refused', message, 'Use another transport on this machine.', { cause });
}
