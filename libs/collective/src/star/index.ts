export { createStarCollective, type StarOptions, type StarPeer } from './collective.js';
export type { ServiceNote } from './links.js';
export { createPeer, createSummingService, type PeerOptions, type SummingServiceOptions } from './peer.js';
export type { ReducerAddress } from './run-server.js';
export { RTC_ADDRESS } from './signals.js';
export { createStarService, type StarService, type StarServiceOptions } from './service.js';
