// Door of sandbox/enrol: who is in the mesh, and the order of getting in and out.
export { Enrolment, type EnrolmentOptions } from './enrolment.ts';
export { isWanted, redirectionKey } from './decide.ts';
