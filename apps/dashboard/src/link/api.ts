/** What the page asks of the coordinator. */
import type { ModelForm } from '@troupe/export';
import type {
  ApiError,
  BansView,
  ControlReply,
  ControlRequest,
  CreditsView,
  EventsView,
  FlowView,
  HistoryView,
  PlayMessage,
  PlayRequest,
  RunsView,
  SamplesView,
} from '@troupe/run';

/** The coordinator refused the request, or did not answer. */
export class RequestFailed extends Error {
  override readonly name = 'RequestFailed';
  readonly code: string;
  readonly remedy: string;
  constructor({ code, message, remedy }: ApiError) {
    super(message);
    this.code = code;
    this.remedy = remedy;
  }
}

export interface ServedFile {
  readonly blob: Blob;
  readonly name: string;
}

export interface Api {
  history(range: { from: number; to: number } | undefined, points: number, signal: AbortSignal): Promise<HistoryView>;
  samples(signal: AbortSignal): Promise<SamplesView>;
  events(after: number, signal: AbortSignal): Promise<EventsView>;
  flows(signal: AbortSignal): Promise<FlowView>;
  runs(signal: AbortSignal): Promise<RunsView>;
  credits(signal: AbortSignal): Promise<CreditsView>;
  bans(signal: AbortSignal): Promise<BansView>;
  control(request: ControlRequest): Promise<ControlReply>;
  /** Calls `onMessage` with each message of the stream; resolves at its end. */
  play(request: PlayRequest, onMessage: (message: PlayMessage) => void, signal: AbortSignal): Promise<void>;
  checkpoint(): Promise<ServedFile>;
  /** The best model, or else the newest. */
  model(form: ModelForm): Promise<ServedFile>;
}
