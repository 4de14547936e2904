export { createStarCollective, type StarOptions } from './collective.js';
export { createStarService, type ServiceNote, type StarService, type StarServiceOptions } from './service.js';
