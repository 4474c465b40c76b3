/* SPDX-License-Identifier: MIT
**
** Which codes custmem.h lists for which call: written down a second time, so that a test can say that a
** call gave another.
*/
#ifndef DOCUMENTED_H
#define DOCUMENTED_H

enum documented_call {
  CALL_OPEN,
  CALL_CLOSE,
  CALL_STORE_INFO,
  CALL_SET_LISTENER,
  CALL_CREATE,
  CALL_GET,
  CALL_GET_MANY,
  CALL_FIND,
  CALL_LIST,
  CALL_SET_DISPLAY,
  CALL_RESOLVE,
  CALL_RESOLVE_MANY,
  CALL_LINK,
  CALL_RELINK,
  CALL_UNLINK,
  CALL_CONVERSATIONS,
  CALL_AUDIT_READ,
  CALL_HISTORY,
  CALL_AUDIT_HEAD,
  CALL_AUDIT_VERIFY,
  CALL_STORE_CHECK,
  CALL_BACKUP,
  CALLS
};

/* "custmem_open" … */
const char *documented_name(enum documented_call call);

/* Whether this is a code of the call's own, or one that any such call may return. Not of CUSTMEM_OK. */
int documented_code(enum documented_call call, int code);

#endif
