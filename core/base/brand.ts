// Branded strings: a key of one map cannot be used on another by mistake (style practice 11).
declare const brand: unique symbol;
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };
