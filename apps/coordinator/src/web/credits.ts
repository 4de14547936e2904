/** Who computed what of a run, as everyone may see it. */
import { creditsView, type CreditLedger, type CreditsView } from '@troupe/run';
import { withoutPrivateData } from './redact.js';

/** Every volunteer asks, and the names are sorted for each answer. */
const STORED_MS = 1_000;

export function createCredits(ledger: CreditLedger, nowMs: () => number): () => CreditsView {
  let stored: CreditsView | undefined;
  let storedAtMs = -Infinity;
  return () => {
    if (stored && nowMs() - storedAtMs < STORED_MS) return stored;
    storedAtMs = nowMs();
    stored = redacted(creditsView(ledger));
    return stored;
  };
}

/** A person may have typed an address as a name. */
function redacted(view: CreditsView): CreditsView {
  return {
    ...view,
    names: view.names.map((one) => ({ ...one, name: withoutPrivateData(one.name), team: withoutPrivateData(one.team) })),
    teams: view.teams.map((one) => ({ ...one, team: withoutPrivateData(one.team) })),
  };
}
