// How often the last-resort handlers of this process had to catch something (checklist R2): each is a mistake of ours.
let caught = 0;

export const noteUncaught = (): void => void caught++;

export const uncaughtFaults = (): number => caught;
