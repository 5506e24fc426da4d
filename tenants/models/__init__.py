from tenants.models.permissions import (
    EnvironmentGroupObjectPermission,
    EnvironmentUserObjectPermission,
    TenantGroupObjectPermission,
    TenantUserObjectPermission,
)
from tenants.models.place import PERMISSIONS, Environment, Resource, RiskClass, Tenant
from tenants.models.principal import Principal
from tenants.models.role import Role
from tenants.models.sign_in import FailedSignIns
from tenants.models.token import ApiToken

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
