/**
 * Bounds what is queued for all peers of a process together. Each link has its own limit, and a
 * thousand slow links would each stay below it. What `Channel.sendEncoded` sends does not count: its
 * frames are shared by many links, and others see to it that few of them are queued.
 */
import { LIMITS } from '@troupe/config/limits';

/** A link whose queue counts. */
export interface BudgetedLink {
  readonly remote: string;
  /** Bytes handed over that have not left, shared ones as well. */
  readonly bufferedBytes: number;
  close(reason: string): void;
  readonly closed: Promise<unknown>;
}

/** What one link has queued. */
export interface SendAccount {
  /** Frames of its own are about to be queued. Closes links that hold most while the budget is exceeded. */
  own(bytes: number): void;
  /** Shared frames are about to be queued. */
  shared(bytes: number): void;
}

export interface SendBudget {
  /** Own bytes that are queued for all links, at most. */
  readonly queuedBytes: number;
  /** An account that ends with the link. */
  open(link: BudgetedLink): SendAccount;
}

/** A link that was closed, with what it and all links together held. */
export interface Eviction {
  readonly remote: string;
  readonly text: string;
  readonly remedy: string;
}

export interface SendBudgetOptions {
  /** Default: LIMITS.queuedBytes. */
  readonly bytes?: number;
  onEvicted(eviction: Eviction): void;
}

export function createSendBudget(options: SendBudgetOptions): SendBudget {
  return new Budget(options);
}

class Budget implements SendBudget {
  readonly #options: SendBudgetOptions;
  readonly #accounts = new Set<Account>();

  constructor(options: SendBudgetOptions) {
    this.#options = options;
  }

  /** The sum is kept by the accounts, each of which forgets what has left when it is looked at. */
  queued = 0;

  get queuedBytes(): number {
    for (const account of this.#accounts) account.settle();
    return this.queued;
  }

  open(link: BudgetedLink): SendAccount {
    const account = new Account(link, this);
    this.#accounts.add(account);
    void link.closed.then(() => this.#end(account));
    return account;
  }

  /** Closes links until what is queued fits. */
  enforce(): void {
    const { bytes = LIMITS.queuedBytes, onEvicted } = this.#options;
    // What has left counts until an account is looked at, so the sum is never too low.
    while (this.queued > bytes && this.queuedBytes > bytes) {
      const largest = [...this.#accounts].reduce((most, account) => (account.held > most.held ? account : most));
      const text = `${largest.link.remote} is disconnected: ${largest.held} of ${this.queued} bytes that wait to be sent are for it`;
      this.#end(largest);
      largest.link.close('too slow: what waits for it takes too much memory');
      const remedy = 'It may join again by itself. If this repeats, use fewer workers, or faster links.';
      onEvicted({ remote: largest.link.remote, text, remedy });
    }
  }

  #end(account: Account): void {
    if (this.#accounts.delete(account)) account.end();
  }
}

class Account implements SendAccount {
  readonly link: BudgetedLink;
  /** Own bytes that have not left. */
  held = 0;
  readonly #budget: Budget;
  /** Own frames: their bytes, and how many bytes the link had been handed with the last of them. */
  #entries: { readonly bytes: number; readonly end: number }[] = [];
  #head = 0;
  /** Bytes that the link was ever handed. */
  #handed = 0;
  #over = false;

  constructor(link: BudgetedLink, budget: Budget) {
    this.link = link;
    this.#budget = budget;
    this.#handed = link.bufferedBytes;
  }

  own(bytes: number): void {
    this.settle();
    // The message itself is always sent: alone it may be larger than the budget.
    this.#budget.enforce();
    if (this.#over) return;
    this.#handed += bytes;
    this.#entries.push({ bytes, end: this.#handed });
    this.#add(bytes);
  }

  shared(bytes: number): void {
    this.#handed += bytes;
  }

  /** Forgets what has left. */
  settle(): void {
    const left = this.#handed - this.link.bufferedBytes;
    for (let entry = this.#entries[this.#head]; entry && entry.end <= left; entry = this.#entries[++this.#head]) {
      this.#add(-entry.bytes);
    }
    if (this.#head < 64 && this.#head < this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#head = 0;
  }

  end(): void {
    this.#over = true;
    this.#add(-this.held);
  }

  #add(bytes: number): void {
    this.held += bytes;
    this.#budget.queued += bytes;
  }
}
