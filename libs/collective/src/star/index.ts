export { applyUpdate, copyUpdate, type ReduceUpdate } from './client.js';
export { hostReduce, type HostOptions, type ReduceCounted, type ReduceHost, type ReduceRejected } from './host.js';
export { joinReduce, type Contribution, type JoinOptions, type ReduceMember, type ReduceResult } from './member.js';
export { createStarService, type ServiceNote, type StarService, type StarServiceOptions } from './service.js';
