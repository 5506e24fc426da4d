from tenants.models.principal import ApiToken, FailedSignIns, Principal
from tenants.models.role import (
    EnvironmentGroupObjectPermission,
    EnvironmentUserObjectPermission,
    Role,
    TenantGroupObjectPermission,
    TenantUserObjectPermission,
)
from tenants.models.tenant import PERMISSIONS, Environment, Resource, RiskClass, Tenant

__all__ = [
    "PERMISSIONS",
    "ApiToken",
    "Environment",
    "EnvironmentGroupObjectPermission",
    "EnvironmentUserObjectPermission",
    "FailedSignIns",
    "Principal",
    "Resource",
    "RiskClass",
    "Role",
    "Tenant",
    "TenantGroupObjectPermission",
    "TenantUserObjectPermission",
]
