/** Finding coordinators on a local network by multicast DNS (RFC 6762) and DNS-SD (RFC 6763). For Node. */
export { advertise, type AdvertiseOptions } from './advertise.js';
export { discover, type Discovery, type DiscoverOptions } from './discover.js';
export { type Interfaces } from './network.js';
export { DISCOVERY_LIMITS, SERVICE, type FoundRun, type RunAdvert } from './records.js';
